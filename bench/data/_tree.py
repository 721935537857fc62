"""Lists picture files in folders of class folders, ``train/<class>/…`` and ``test/<class>/…``; checks the layout."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, require
from . import DatasetInfo
from ._archive import is_archive, unpack_to_cache
from ._pictures import PREPARATION, SUFFIXES, side_lengths

LAYOUT = "train/<class>/ and test/<class>/"
SMALL = 96  # pixels: pictures up to this size are small and keep their size
DEFAULT_SIZE = 64  # pixels, of larger pictures and of those with several sizes
SAMPLE = 64  # pictures whose size and content stand for all


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """The picture files of one split, in the order of their paths."""

    folder: Path
    paths: tuple[str, ...]  # relative to the folder, with slashes: "cat/0.jpg"
    labels: NDArray[np.int64]
    sizes: tuple[int, ...]  # bytes
    times: tuple[int, ...]  # of the last change, nanoseconds

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self) -> list[str]:
        """Some paths, evenly spread over the classes."""
        return [
            str(self.folder / self.paths[i]) for i in sorted({int(i) for i in np.linspace(0, len(self) - 1, SAMPLE)})
        ]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The files of both splits, over the same classes."""

    root: Path
    classes: tuple[str, ...]
    train: SplitFiles
    test: SplitFiles


def locate_root(data_dir: str | None, source: str, advice: str) -> Path:
    """The directory of the data: the given one, its only folder, or the content of the given archive."""
    if not data_dir:
        raise UserError(f"--dataset {source} needs --data-dir DIR: {advice}")
    root = Path(data_dir).expanduser()
    with permission_as_user_error(root):
        if not root.exists():
            raise UserError(f"{root}: no such file or directory. Correct --data-dir: {advice}")
        if not root.is_dir():
            if not is_archive(root):
                raise UserError(f"{root}: neither a directory nor a .zip or .tar archive. Correct --data-dir: {advice}")
            root = unpack_to_cache(root)
        folders = subfolders(root)
        if "train" not in folders and len(folders) == 1 and "train" in subfolders(root / folders[0]):
            return root / folders[0]
    return root


@contextmanager
def permission_as_user_error(where: Path) -> Iterator[None]:
    """Raises a UserError for a file or folder that may not be read."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{error.filename or where}: permission denied. "
            f"Make it readable (chmod -R u+rX {where}) or correct --data-dir."
        ) from error


def list_tree(root: Path, test_names: Sequence[str] = ("test", "val")) -> Tree:
    """Lists both splits; the test split is the first folder of ``test_names`` that exists. Raises UserError."""
    with permission_as_user_error(root):
        test = _find_test_split(root, test_names)
        classes = tuple(subfolders(root / "train"))
        if len(classes) < 2:
            have = f"only one class ({classes[0]})" if classes else "no class folders"
            raise UserError(
                f"{root / 'train'}: {have}. It must hold a folder of pictures for each of two or more classes."
            )
        unknown = [name for name in subfolders(root / test) if name not in classes]
        if unknown:
            raise UserError(
                f"{root / test}: {name_several('class', unknown)} not in {root / 'train'}. "
                "Rename it as in train, add it to train, or remove it."
            )
        return Tree(
            root=root,
            classes=classes,
            train=_list_split(root / "train", classes, classes),
            test=_list_split(root / test, subfolders(root / test), classes),
        )


def _find_test_split(root: Path, test_names: Sequence[str]) -> str:
    """The name of the test split's folder. Raises UserError if it or the train split is missing."""
    folders = subfolders(root)
    if not folders:
        raise UserError(f"{root}: empty, there are no folders in it. It must hold {LAYOUT}.")
    present = ", ".join(folders[:6]) + (", …" if len(folders) > 6 else "")
    if "train" not in folders:
        raise UserError(
            f"{root}: no train split, only {present}. It must hold {LAYOUT}; rename a folder, or correct --data-dir."
        )
    test = next((name for name in test_names if name in folders), None)
    if test is None:
        raise UserError(
            f"{root}: no {' or '.join(test_names)} split, only {present}. "
            f"Move some pictures of each class to {root / test_names[0]}/<class>/."
        )
    return test


def subfolders(where: Path) -> list[str]:
    """Sorted names of the folders inside, without hidden ones and the one that macOS adds to archives."""
    with os.scandir(where) as entries:
        return sorted(e.name for e in entries if e.name[0] != "." and e.name != "__MACOSX" and e.is_dir())


def _list_split(split: Path, folders: Sequence[str], classes: tuple[str, ...]) -> SplitFiles:
    if not folders:
        raise UserError(f"{split}: no class folders. It must hold <class>/ folders, named like those in train.")
    found = {folder: sorted(_iter_pictures(split / folder, folder)) for folder in folders}
    empty = [folder for folder, files in found.items() if not files]
    if empty:
        raise UserError(
            f"{split}: {name_several('class folder', empty)} without pictures. "
            f"Fill or remove it; pictures end in {', '.join(sorted(SUFFIXES))}."
        )
    files = [file for folder in folders for file in found[folder]]
    counts = [len(found[folder]) for folder in folders]
    return SplitFiles(
        folder=split,
        paths=tuple(path for path, _, _ in files),
        labels=np.repeat([classes.index(folder) for folder in folders], counts).astype(np.int64),
        sizes=tuple(size for _, size, _ in files),
        times=tuple(time for _, _, time in files),
    )


def _iter_pictures(where: Path | str, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Path, bytes and time of last change of every picture in a folder and its subfolders."""
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            path = f"{prefix}/{entry.name}"
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                status = entry.stat()
                yield path, status.st_size, status.st_mtime_ns
            elif entry.is_dir(follow_symlinks=False):  # a linked folder could lead round in a circle
                yield from _iter_pictures(entry.path, path)


def name_several(what: str, names: Sequence[str]) -> str:
    """The start of a sentence about names: "class 'a' is", "classes 'a', 'b', 'c' and 3 more are"."""
    if len(names) == 1:
        return f"{what} {names[0]!r} is"
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{plural} {', '.join(map(repr, names[:3]))}{more} are"


def default_image_size(tree: Tree) -> int:
    """The pictures' own size in pixels, if all of a sample have the same small one; otherwise 64."""
    sizes = {size for path in tree.train.sample() if (size := side_lengths(path))}
    if len(sizes) == 1:
        shorter, longer = sizes.pop()
        if shorter >= 8 and longer <= SMALL:
            return shorter
    return DEFAULT_SIZE


def has_larger_pictures(tree: Tree, size: int) -> bool:
    """Whether a picture of a sample has a shorter side of more than ``size`` pixels."""
    return any(sides[0] > size for path in tree.train.sample() if (sides := side_lengths(path)))


def tree_info(tree: Tree, name: str, image_size: int | None) -> DatasetInfo:
    """Describes the tree; its identity does not depend on where the files are or when they were copied."""
    if image_size is not None:
        require(8 <= image_size <= 1024, "image_size", image_size, "from 8 to 1024 pixels")
    size = image_size or default_image_size(tree)
    digest = hashlib.sha256(json.dumps([PREPARATION, size, tree.classes]).encode())
    for split, files in (("train", tree.train), ("test", tree.test)):
        for path, length in zip(files.paths, files.sizes, strict=True):
            digest.update(f"{split}/{path}\0{length}\n".encode("utf-8", "surrogateescape"))
        # Uncompressed pictures all have one length; the sample tells sets apart that differ only in their pixels.
        for path in files.sample():
            with permission_as_user_error(tree.root), open(path, "rb") as file:
                digest.update(hashlib.sha256(file.read()).digest())
    return DatasetInfo(
        name=name,
        identity=digest.hexdigest(),
        image_size=size,
        classes=tree.classes,
        train_images=len(tree.train),
        test_images=len(tree.test),
        per_class=int(np.bincount(tree.train.labels).min()),
    )
