"""The pictures of a tree: decoded once and kept where small and few; else looked over once, and read when asked for."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator

import numpy as np

from ..errors import UserError, require
from . import Dataset, DatasetInfo, Split
from ._pictures import PREPARATION, Broken, LazyImages, Pixels, chunks_decoded, unreadable, watched
from ._store import Chunk, remembered, stored
from ._tree import SMALL, Files, Tree, some

RESIDENT = 4 * 2**30  # bytes: up to here small pictures are kept
GLANCE = 8  # pixels to which a picture is decoded to see that it can be: the smallest is the fastest


def dataset(tree: Tree, known: DatasetInfo, *, skip_unreadable: bool, workers: int) -> Dataset:
    """The pictures: kept in the cache where they are small, else files that are read when asked for."""
    require(workers >= 1, "workers", workers, "at least 1")
    small = known.image_size <= SMALL
    resident = small and (len(tree.train) + len(tree.test)) * 3 * known.image_size**2 <= RESIDENT
    broken: list[tuple[str, str]] = []
    splits: list[Split] = []
    for files in (tree.train, tree.test):
        split, bad = _resident(files, known, workers) if resident else _lazy(files, known, workers)
        broken += [(f"{files.folder.name}/{files.paths[i]}", why) for i, why in bad]
        splits.append(split)
    if broken and not skip_unreadable:
        raise unreadable(tree.root, broken)
    if broken:
        bare = [c for i, c in enumerate(tree.classes) if not (splits[0].labels == i).any()]
        if bare or not len(splits[1]):
            where = some("class", bare) if bare else f"the {tree.test.folder.name} split is"
            raise UserError(f"{tree.root}: {where} left without a readable picture. Mend or remove the folder.")
        logging.getLogger(__name__).warning("%s Left out.", str(unreadable(tree.root, broken)).split(" Mend ")[0])
    return Dataset(name=known.name, classes=known.classes, image_size=known.image_size, train=splits[0], test=splits[1])


def _resident(files: Files, known: DatasetInfo, workers: int) -> tuple[Split, list[Broken]]:
    import torch

    def chunks() -> Iterator[Chunk]:
        place = 0
        for images, broken in _decoding(files, known.image_size, workers):
            end = place + len(images) + len(broken)
            labels = np.delete(files.labels[place:end], [i - place for i, _ in broken])
            yield images, labels, broken
            place = end

    kept = stored(_entry(files, known, known.image_size), known.image_size, len(files), chunks)
    return Split(images=torch.from_numpy(kept.images), labels=torch.from_numpy(kept.labels)), kept.broken


def _lazy(files: Files, known: DatasetInfo, workers: int) -> tuple[Split, list[Broken]]:
    import torch

    def scan() -> list[Broken]:
        return [one for _, broken in _decoding(files, GLANCE, workers) for one in broken]

    # A picture that cannot be read would else be met hours into a training. Any size tells.
    broken = remembered(_entry(files, known, GLANCE), scan)
    out = {place for place, _ in broken}
    images = LazyImages(
        files.folder,
        [path for i, path in enumerate(files.paths) if i not in out] if out else files.paths,
        size=known.image_size,
        workers=workers,
    )
    return Split(images=images, labels=torch.from_numpy(np.delete(files.labels, list(out)))), broken


def _decoding(files: Files, size: int, workers: int) -> Iterator[tuple[Pixels, list[Broken]]]:
    """All of a split's pictures, chunk by chunk, under a progress bar."""
    chunks = chunks_decoded([f"{files.folder}/{path}" for path in files.paths], size, workers)
    what = f"Decoding {files.folder.parent.name}/{files.folder.name}"
    return watched(chunks, what, len(files), done=lambda chunk: len(chunk[0]) + len(chunk[1]))


def _entry(files: Files, known: DatasetInfo, size: int) -> str:
    """The cache's name for a split; times count here, though not for the identity: an edit may keep the length."""
    facts = [PREPARATION, size, files.paths, files.sizes, files.times]
    return f"{known.name[:60]}-{files.folder.name}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
