"""Loads a tree of picture files: decoded once into the cache if small, otherwise read on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import UserError
from ..images.input_spec import InputSpec
from ..progress import with_progress_bar
from ..storage.hashing import fingerprint
from . import Dataset, DatasetInfo, Split
from ._content import check_unchanged
from ._info import SMALL
from ._listing import name_several
from ._pictures import (
    PREPARATION,
    Broken,
    LazyImages,
    Pixels,
    decode_chunks,
    describe_unreadable,
    unreadable_error,
)
from ._store import Chunk, load_or_decode, load_or_find_broken
from ._tree import SplitFiles, Tree

LoadTargets = Callable[[SplitFiles, list[int]], dict[str, Any]]
"""A split's files, and the positions of its readable pictures -> fields of ``Split`` with their targets."""
RESIDENT = 4 * 2**30  # bytes: data sets of small pictures up to this size are decoded into the cache
SCAN_SIZE = 8  # pixels: to find broken pictures they are decoded at this size, because the smallest is the fastest


def load_tree(
    tree: Tree,
    info: DatasetInfo,
    *,
    skip_unreadable: bool,
    workers: int,
    input_spec: InputSpec | None = None,
    load_targets: LoadTargets | None = None,
) -> Dataset:
    """Both splits. Raises UserError for pictures that cannot be read, unless they are skipped and others are left.

    With ``input_spec`` the pictures are read on demand, exactly as a published network expects them.
    """
    resident = input_spec is None and is_decoded_at_once(tree, info.image_size)
    broken: list[tuple[str, str]] = []
    splits: list[Split] = []
    kept: list[list[int]] = []
    for files in (tree.train, tree.test):
        load = _load_decoded if resident else partial(_load_lazily, input_spec=input_spec)
        split, split_broken = load(files, info, workers)
        broken += [(f"{files.folder.name}/{files.paths[i]}", reason) for i, reason in split_broken]
        splits.append(split)
        skipped = {i for i, _ in split_broken}
        kept.append([i for i in range(len(files)) if i not in skipped])
    train, test = splits
    if broken:
        if not skip_unreadable:
            raise unreadable_error(tree.root, broken)
        _check_nothing_is_empty(tree, train, test)
        logging.getLogger(__name__).warning("%s Left out.", describe_unreadable(tree.root, broken))
    if load_targets:
        train = replace(train, **load_targets(tree.train, kept[0]))
        test = replace(test, **load_targets(tree.test, kept[1]))
    return Dataset(
        name=info.name,
        classes=info.classes,
        image_size=input_spec.size if input_spec else info.image_size,
        train=train,
        test=test,
    )


def is_decoded_at_once(tree: Tree, size: int) -> bool:
    """Whether all pictures are decoded into the cache; otherwise they are read on demand."""
    return size <= SMALL and (len(tree.train) + len(tree.test)) * 3 * size**2 <= RESIDENT


def _check_nothing_is_empty(tree: Tree, train: Split, test: Split) -> None:
    """Raises UserError if a train class or the test split has no readable picture."""
    empty = [name for i, name in enumerate(tree.classes) if not (train.labels == i).any()]
    if empty or not len(test):
        where = name_several("class", empty) if empty else f"the {tree.test.folder.name} split is"
        raise UserError(f"{tree.root}: {where} left without a readable picture. Fix or remove the folder.")


def _load_decoded(files: SplitFiles, info: DatasetInfo, workers: int) -> tuple[Split, list[Broken]]:
    import torch

    def chunks() -> Iterator[Chunk]:
        start = 0
        for images, broken in _decode_all(files, info, info.image_size, workers):
            end = start + len(images) + len(broken)
            labels = np.delete(files.labels[start:end], [i - start for i, _ in broken])
            yield images, labels, broken
            start = end

    stored = load_or_decode(_entry_name(files, info, info.image_size), info.image_size, len(files), chunks)
    return Split(images=torch.from_numpy(stored.images), labels=torch.from_numpy(stored.labels)), stored.broken


def _load_lazily(
    files: SplitFiles, info: DatasetInfo, workers: int, input_spec: InputSpec | None
) -> tuple[Split, list[Broken]]:
    import torch

    def find_broken() -> list[Broken]:
        return [picture for _, broken in _decode_all(files, info, SCAN_SIZE, workers) for picture in broken]

    # Otherwise training would meet a broken picture only after hours.
    broken = load_or_find_broken(_entry_name(files, info, SCAN_SIZE), find_broken)
    skipped = {index for index, _ in broken}
    images = LazyImages(
        files.folder,
        [path for i, path in enumerate(files.paths) if i not in skipped] if skipped else files.paths,
        size=info.image_size,
        workers=workers,
        input_spec=input_spec,
        value_range=info.value_range,
    )
    return Split(images=images, labels=torch.from_numpy(np.delete(files.labels, list(skipped)))), broken


def _decode_all(files: SplitFiles, info: DatasetInfo, size: int, workers: int) -> Iterator[tuple[Pixels, list[Broken]]]:
    """All pictures of a split, chunk by chunk, with a progress bar. Raises UserError if one was changed meanwhile."""
    chunks = decode_chunks(files.full_paths(), size, workers, info.value_range)
    title = f"Decoding {files.folder.parent.name}/{files.folder.name}"
    yield from with_progress_bar(chunks, title, len(files), size_of=lambda chunk: len(chunk[0]) + len(chunk[1]))
    check_unchanged(files.folder, files.paths, files.states)


def _entry_name(files: SplitFiles, info: DatasetInfo, size: int) -> str:
    """A split's name in the cache. It depends on all that is stored: the pictures' content, their range and labels."""
    key = [PREPARATION, size, files.digest, info.value_range, files.labels.tolist()]
    return f"{info.name[:60]}-{files.folder.name}-{fingerprint(key)}"
