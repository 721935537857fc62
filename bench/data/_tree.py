"""Folders of class folders: ``train/<class>/…`` and ``test/<class>/…``, looked over before any picture is read."""

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
from ._archive import is_archive, unpacked
from ._pictures import PREPARATION, SUFFIXES, shorter_side

LAYOUT = "train/<class>/ and test/<class>/"
SMALL = 96  # pixels: up to here pictures are kept as they are
SAMPLE = 64  # pictures that stand for all


@dataclass(frozen=True, kw_only=True)
class Files:
    """One split's picture files, in order of their paths."""

    folder: Path
    paths: tuple[str, ...]  # below the folder, with slashes: "cat/0.jpg"
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
    """The two splits over the same classes."""

    root: Path
    classes: tuple[str, ...]
    train: Files
    test: Files


def located(data_dir: str | None, source: str, advice: str) -> Path:
    """The directory that holds train/: the given one, its only folder, or its unpacked archive."""
    if not data_dir:
        raise UserError(f"--dataset {source} needs --data-dir DIR: {advice}")
    root = Path(data_dir).expanduser()
    with permitted(root):
        if not root.exists():
            raise UserError(f"{root}: no such file or directory. Correct --data-dir: {advice}")
        if not root.is_dir():
            if not is_archive(root):
                raise UserError(f"{root}: neither a directory nor a .zip or .tar archive. Correct --data-dir: {advice}")
            root = unpacked(root)
        folders = _folders(root)
        if "train" not in folders and len(folders) == 1 and "train" in _folders(root / folders[0]):
            return root / folders[0]
    return root


@contextmanager
def permitted(where: Path) -> Iterator[None]:
    """Turns a forbidden file or folder into a sentence."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{error.filename or where}: permission denied. "
            f"Make it readable (chmod -R u+rX {where}) or correct --data-dir."
        ) from error


def grown(root: Path, tests: Sequence[str] = ("test", "val")) -> Tree:
    """The tree below ``root``; of the folders that may hold the test split the first one counts."""
    with permitted(root):
        folders = _folders(root)
        if not folders:
            raise UserError(f"{root}: empty, there are no folders in it. It must hold {LAYOUT}.")
        found = ", ".join(folders[:6]) + (", …" if len(folders) > 6 else "")
        if "train" not in folders:
            raise UserError(
                f"{root}: no train split, only {found}. It must hold {LAYOUT}; rename a folder, or correct --data-dir."
            )
        test = next((name for name in tests if name in folders), None)
        if test is None:
            raise UserError(
                f"{root}: no {' or '.join(tests)} split, only {found}. "
                f"Move some pictures of each class to {root / tests[0]}/<class>/."
            )
        classes = tuple(_folders(root / "train"))
        if len(classes) < 2:
            have = f"only one class ({classes[0]})" if classes else "no class folders"
            raise UserError(
                f"{root / 'train'}: {have}. It must hold a folder of pictures for each of two or more classes."
            )
        strange = [name for name in _folders(root / test) if name not in classes]
        if strange:
            raise UserError(
                f"{root / test}: {some('class', strange)} not in {root / 'train'}. "
                "Rename it as in train, add it to train, or remove it."
            )
        return Tree(
            root=root,
            classes=classes,
            train=_listed(root / "train", classes, classes),
            test=_listed(root / test, tuple(_folders(root / test)), classes),
        )


def _folders(where: Path) -> list[str]:
    """Names of the folders inside, sorted, without hidden ones and what macOS adds to archives."""
    with os.scandir(where) as entries:
        return sorted(e.name for e in entries if e.name[0] != "." and e.name != "__MACOSX" and e.is_dir())


def _listed(split: Path, folders: Sequence[str], classes: tuple[str, ...]) -> Files:
    if not folders:
        raise UserError(f"{split}: no class folders. It must hold <class>/ folders, named like those in train.")
    paths: list[str] = []
    labels: list[int] = []
    sizes: list[int] = []
    times: list[int] = []
    empty: list[str] = []
    for folder in folders:
        found = sorted(_pictures(split / folder, folder))
        if not found:
            empty.append(folder)
        paths += [path for path, _, _ in found]
        sizes += [size for _, size, _ in found]
        times += [time for _, _, time in found]
        labels += [classes.index(folder)] * len(found)
    if empty:
        raise UserError(
            f"{split}: {some('class folder', empty)} without pictures. "
            f"Fill or remove it; pictures end in {', '.join(sorted(SUFFIXES))}."
        )
    return Files(
        folder=split,
        paths=tuple(paths),
        labels=np.asarray(labels, dtype=np.int64),
        sizes=tuple(sizes),
        times=tuple(times),
    )


def _pictures(where: Path | str, below: str) -> Iterator[tuple[str, int, int]]:
    """Path, bytes and time of last change of every picture in a folder and the folders in it."""
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            path = f"{below}/{entry.name}"
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                facts = entry.stat()
                yield path, facts.st_size, facts.st_mtime_ns
            elif entry.is_dir(follow_symlinks=False):  # a linked folder could lead round in a circle
                yield from _pictures(entry.path, path)


def some(what: str, names: Sequence[str]) -> str:
    """ "class 'a' is", "classes 'a', 'b' and 3 more are": the start of a list that may be long."""
    if len(names) == 1:
        return f"{what} {names[0]!r} is"
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{plural} {', '.join(map(repr, names[:3]))}{more} are"


def usual_size(tree: Tree) -> int:
    """The pictures' own size where a sample of them has only one and a small one; else 64 pixels."""
    sizes = {size for path in tree.train.sample() if (size := shorter_side(path))}
    if len(sizes) == 1:
        shorter, longer = sizes.pop()
        if shorter >= 8 and longer <= SMALL:
            return shorter
    return 64


def facts(tree: Tree, name: str, image_size: int | None) -> DatasetInfo:
    """What is known of the tree; its identity does not depend on where it lies or when it was copied."""
    if image_size is not None:
        require(8 <= image_size <= 1024, "image_size", image_size, "from 8 to 1024 pixels")
    size = image_size or usual_size(tree)
    digest = hashlib.sha256(json.dumps([PREPARATION, size, tree.classes]).encode())
    for split, files in (("train", tree.train), ("test", tree.test)):
        for path, length in zip(files.paths, files.sizes, strict=True):
            digest.update(f"{split}/{path}\0{length}\n".encode("utf-8", "surrogateescape"))
        # Uncompressed pictures are all of one length; the sample tells apart sets that differ in pixels only.
        for path in files.sample():
            with permitted(tree.root), open(path, "rb") as file:
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
