"""Lists pictures that are not divided into train and test, and divides them by their content."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from ._content import FileState, hash_files, state_of
from ._listing import (
    LeftOut,
    compose,
    folders_above,
    is_picture,
    iter_pictures,
    loose_files,
    name_several,
    named_folders,
    permission_as_user_error,
    subfolders,
)
from ._pixel_targets import DEPTH, MASKS
from ._tree import TEST_NAMES, TRAIN_NAMES, SplitFiles, Tree, check_dead_links, find_names

File = tuple[str, FileState]


def list_unsplit(root: Path, test_share: float, *, skip_dead_links: bool = False) -> Tree:
    """Lists ``root/<class>/…``, or pictures without class folders, and puts about a share of each class into test.

    In which split a picture is depends on its bytes alone: it stays there when other pictures are added or it is
    renamed, and copies of a picture are in the same split. There are no classes if fewer than two folders of pictures
    are there. Raises UserError for folders that are divided already, and for a split without pictures.
    """
    left_out = LeftOut()
    with permission_as_user_error(root):
        root = _without_wrapper(root)
        if divided := find_names(subfolders(root), (*TRAIN_NAMES, *TEST_NAMES)):
            raise UserError(
                f"folder.test_share = {test_share:g}: {root / divided[0]} looks like a split already. "
                f"Leave the setting out, or give --data-dir {root / divided[0]}."
            )
        folders = {name: path for name, path in named_folders(root).items() if name not in (MASKS, DEPTH)}
        by_class = (
            _list_classes(root, folders, left_out) if len(folders) >= 2 else {"": _list_flat(root, folders, left_out)}
        )
        files = [file for of_class in by_class.values() for file in of_class]
        hashes = hash_files(root, [path for path, _ in files], [state for _, state in files])
    check_dead_links(root, left_out, skip_dead_links=skip_dead_links)
    labels = np.repeat(np.arange(len(by_class)), [len(of_class) for of_class in by_class.values()]).astype(np.int64)
    is_test = np.array([int(content[:8], 16) < test_share * 2**32 for content in hashes])
    everything = SplitFiles(
        folder=root,
        paths=tuple(path for path, _ in files),
        labels=labels,
        states=tuple(state for _, state in files),
        known_hashes=hashes,
    )
    classes = tuple(by_class) if len(folders) >= 2 else ()
    train, test = everything.chosen(~is_test), everything.chosen(is_test)
    if not len(test) or len({*train.labels.tolist()}) < len(by_class):
        untrained = [name for label, name in enumerate(classes) if label not in train.labels]
        empty = name_several("class", untrained) if untrained else "train is" if len(test) else "test is"
        raise UserError(
            f"folder.test_share = {test_share:g}: {empty} left without a picture{' in train' * bool(untrained)}. "
            "Choose another share, or add pictures."
        )
    return Tree(root=root, classes=classes, train=train, test=test, remarks=tuple(left_out.sentences()))


def _without_wrapper(root: Path) -> Path:
    """The only folder of a directory without pictures, as archives have it, if it holds folders itself."""
    folders = subfolders(root)
    if len(folders) == 1 and not any(map(is_picture, loose_files(root))) and subfolders(root / folders[0]):
        return root / folders[0]
    return root


def _list_classes(root: Path, folders: Mapping[str, str], left_out: LeftOut) -> dict[str, list[File]]:
    above = folders_above(root)
    found = {name: _ordered(iter_pictures(root / path, path, left_out, above)) for name, path in folders.items()}
    left_out.outside += [name for name in loose_files(root) if is_picture(name)]
    if empty := [name for name, files in found.items() if not files]:
        raise UserError(f"{root}: {name_several('class folder', empty)} without pictures. Fill or remove it.")
    return found


def _list_flat(root: Path, folders: Mapping[str, str], left_out: LeftOut) -> list[File]:
    above = folders_above(root)
    found = [(name, state_of(os.stat(root / name))) for name in loose_files(root) if is_picture(name)]
    for path in folders.values():
        found += iter_pictures(root / path, path, left_out, above)
    if not found:
        raise UserError(f"{root}: no pictures. It must hold <class>/ folders with pictures. Correct --data-dir.")
    return _ordered(found)


def _ordered(files: Iterator[File] | list[File]) -> list[File]:
    return sorted(files, key=lambda file: compose(file[0]))
