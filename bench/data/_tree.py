"""Lists picture files in folders of class folders, ``train/<class>/…`` and ``test/<class>/…``; checks the layout."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ._archive import is_archive, unpack_to_cache
from ._content import FileState, hash_files
from ._listing import (
    LeftOut,
    compose,
    count_loose_pictures,
    folders_above,
    is_picture,
    iter_pictures,
    loose_files,
    name_several,
    named_folders,
    permission_as_user_error,
    subfolders,
)
from ._pictures import SUFFIXES

LAYOUT = "train/<class>/ and test/<class>/"
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
SAMPLE = 64  # pictures whose size stands for all


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """The picture files of one split, in the order of their paths."""

    folder: Path
    paths: tuple[str, ...]  # relative to the folder, with slashes: "cat/0.jpg"
    labels: NDArray[np.int64]
    states: tuple[FileState, ...]
    known_hashes: tuple[str, ...] | None = None  # SHA-256 of each file, if they were computed before

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self) -> list[str]:
        """Some paths, evenly spread over the classes."""
        return [
            str(self.folder / self.paths[i]) for i in sorted({int(i) for i in np.linspace(0, len(self) - 1, SAMPLE)})
        ]

    def chosen(self, is_chosen: NDArray[np.bool_]) -> SplitFiles:
        """The files where the array (N,) is true."""
        where = np.flatnonzero(is_chosen).tolist()
        return SplitFiles(
            folder=self.folder,
            paths=tuple(self.paths[i] for i in where),
            labels=self.labels[where],
            states=tuple(self.states[i] for i in where),
            known_hashes=tuple(self.hashes[i] for i in where),
        )

    def full_paths(self) -> list[str]:
        """The paths from the root of the file system or the working directory."""
        return [f"{self.folder}/{path}" for path in self.paths]

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each file. Raises UserError for a file that cannot be read."""
        if self.known_hashes is not None:
            return self.known_hashes
        with permission_as_user_error(self.folder):
            return hash_files(self.folder, self.paths, self.states)

    @cached_property
    def digest(self) -> str:
        """Hex digest of all paths and of every byte; it does not depend on where the files are."""
        digest = hashlib.sha256()
        for path, content in zip(self.paths, self.hashes, strict=True):
            digest.update(f"{compose(path)}\0{content}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The files of both splits, over the same classes."""

    root: Path
    classes: tuple[str, ...]
    train: SplitFiles
    test: SplitFiles
    remarks: tuple[str, ...] = ()  # sentences on what is not used


def locate_root(data_dir: str | None, source: str, advice: str) -> Path:
    """The directory of the data: the given one, its only folder, or the content of the given archive."""
    if not data_dir:
        raise UserError(f"--dataset {source} needs --data-dir DIR: {advice}")
    root = Path(os.path.expanduser(data_dir))
    with permission_as_user_error(root):
        if not root.exists():
            raise UserError(f"{root}: no such file or directory. Correct --data-dir: {advice}")
        if not root.is_dir():
            if not is_archive(root):
                raise UserError(f"{root}: neither a directory nor a .zip or .tar archive. Correct --data-dir: {advice}")
            root = unpack_to_cache(root)
        folders = subfolders(root)
        is_wrapped = len(folders) == 1 and not find_names(folders, TRAIN_NAMES)
        if is_wrapped and find_names(subfolders(root / folders[0]), TRAIN_NAMES):
            return root / folders[0]
    return root


def find_names(folders: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The folders with one of the wanted names, in the order of these; "Train" counts as "train"."""
    return [name for want in wanted for name in sorted(folders, reverse=True) if name.lower() == want]


def list_tree(
    root: Path, test_names: Sequence[str] = TEST_NAMES, *, skip_dead_links: bool = False, advice: str = ""
) -> Tree:
    """Lists both splits; the test split is the first folder of ``test_names`` that has classes.

    Raises UserError for any other layout; ``advice`` is added where a split is missing.
    """
    with permission_as_user_error(root):
        train_name, tests = _find_splits(root, test_names, advice)
        folders = named_folders(root / train_name)
        _check_classes(root / train_name, folders)
        test_name, remarks = _choose_test(root, tests, folders)
        test_folders = named_folders(root / test_name)
        unknown = [name for name in test_folders if name not in folders]
        if unknown:
            raise UserError(
                f"{root / test_name}: {name_several('class', unknown)} not in {root / train_name}. "
                "Rename it as in train, add it to train, or remove it."
            )
        left_out = LeftOut()
        classes = tuple(folders)
        train = _list_split(root / train_name, folders, classes, left_out)
        test = _list_split(root / test_name, test_folders, classes, left_out)
    check_dead_links(root, left_out, skip_dead_links=skip_dead_links)
    return Tree(root=root, classes=classes, train=train, test=test, remarks=(*remarks, *left_out.sentences()))


def check_dead_links(root: Path, left_out: LeftOut, *, skip_dead_links: bool) -> None:
    """Raises UserError for links that lead nowhere, unless they are to be skipped."""
    if left_out.dead_links and not skip_dead_links:
        raise UserError(
            f"{root}: {name_several('link', left_out.dead_links)} without a file behind it. "
            "Fix or remove it, or leave it out with --skip-unreadable."
        )


def _find_splits(root: Path, test_names: Sequence[str], advice: str) -> tuple[str, list[str]]:
    """The names of the train split's folder and of those that may be the test split. Raises UserError without one."""
    folders = subfolders(root)
    if not folders:
        loose = count_loose_pictures(root)
        have = f"{loose}, but no folders in it" if loose else "empty, there are no folders in it"
        raise UserError(f"{root}: {have}. Folders give pictures their labels: it must hold {LAYOUT}." + advice)
    present = ", ".join(folders[:6]) + (", …" if len(folders) > 6 else "")
    train = find_names(folders, TRAIN_NAMES)
    if not train:
        raise UserError(
            f"{root}: no train split, only {present}. It must hold {LAYOUT}; rename a folder, or correct --data-dir."
            + advice
        )
    tests = find_names(folders, test_names)
    if not tests:
        names = " or ".join(name for name in ("test", "val") if name in test_names)
        raise UserError(
            f"{root}: no {names} split, only {present}. "
            f"Move some pictures of each class to {root / test_names[0]}/<class>/." + advice
        )
    return train[0], tests


def _check_classes(train: Path, folders: Mapping[str, str]) -> None:
    """Raises UserError for fewer than two classes."""
    if len(folders) >= 2:
        return
    have = f"only one class ({min(folders)})" if folders else "no class folders"
    if not folders and (loose := count_loose_pictures(train)):
        have += f", only {loose} directly in it"
    raise UserError(f"{train}: {have}. It must hold a folder of pictures for each of two or more classes.")


def _choose_test(root: Path, names: Sequence[str], classes: Mapping[str, str]) -> tuple[str, list[str]]:
    """The first of the folders that has class folders as in train, and a remark on each one before it."""
    for i, name in enumerate(names):
        if classes.keys() & named_folders(root / name).keys():
            return name, [f"{skipped}/ has no labels, so {name}/ is the test split." for skipped in names[:i]]
    return names[0], []


def _list_split(split: Path, folders: Mapping[str, str], classes: tuple[str, ...], left_out: LeftOut) -> SplitFiles:
    """The pictures of a split; ``folders`` are the names of class folders by class."""
    if not folders:
        raise UserError(f"{split}: no class folders. It must hold <class>/ folders, named like those in train.")
    above = folders_above(split)
    found = {
        name: sorted(
            (compose(path), path, state) for path, state in iter_pictures(split / folder, folder, left_out, above)
        )
        for name, folder in folders.items()
    }
    if empty := [name for name, files in found.items() if not files]:
        raise UserError(
            f"{split}: {name_several('class folder', empty)} without pictures. "
            f"Fill or remove it; pictures end in {', '.join(sorted(SUFFIXES))}."
        )
    for name in loose_files(split):
        if is_picture(name):
            left_out.outside.append(f"{split.name}/{name}")
        else:
            left_out.add_file(name)
    files = [file for name in folders for file in found[name]]
    counts = [len(found[name]) for name in folders]
    return SplitFiles(
        folder=split,
        paths=tuple(path for _, path, _ in files),
        labels=np.repeat([classes.index(name) for name in folders], counts).astype(np.int64),
        states=tuple(state for _, _, state in files),
    )
