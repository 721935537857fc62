"""Decoded pictures kept as memory maps, so that a data set is decoded once on a machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..storage.cache import cache_folder, locked
from ._pictures import Broken, Pixels

Labels = NDArray[np.int64]
Chunk = tuple[Pixels, Labels, list[Broken]]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The readable pictures of a split with their labels, and which ones could not be read."""

    images: Pixels  # (N, 3, S, S), a copy-on-write memory map
    labels: Labels  # (N,)
    broken: list[Broken]


def stored(name: str, size: int, count: int, chunks: Callable[[], Iterator[Chunk]]) -> Stored:
    """The cache's entry ``name`` of ``count`` pictures; decodes the ``chunks`` where it is missing or damaged."""
    entry = cache_folder() / "pictures" / name
    found = _read(entry, size, count)
    if found is None:
        with cache_writes(), locked(entry):
            found = _read(entry, size, count)  # another process may have been faster
            if found is None:
                with replacing(entry) as folder:
                    _write(folder, size, count, chunks())
                found = _read(entry, size, count)
    if found is None:
        raise UserError(f"{entry}: what was written there cannot be read back. Set SSLBENCH_CACHE to another disk.")
    return found


def remembered(name: str, find: Callable[[], list[Broken]]) -> list[Broken]:
    """The broken pictures of a split whose pictures themselves are not kept; looks for them the first time."""
    entry = cache_folder() / "pictures" / name
    known = _known(entry)
    if known is None:
        with cache_writes(), locked(entry):
            known = _known(entry)  # another process may have been faster
            if known is None:
                known = find()
                with replacing(entry) as folder:
                    _note(folder, known)
    return known


def _read(entry: Path, size: int, count: int) -> Stored | None:
    """The entry, or None where it is missing or not what it should be."""
    try:
        broken = _broken(entry)
        images = np.load(entry / "images.npy", mmap_mode="c", allow_pickle=False)
        labels = np.load(entry / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, TypeError, EOFError):
        return None
    left = count - len(broken)
    right = images.dtype == np.uint8 and images.shape == (left, 3, size, size)
    right &= labels.dtype == np.int64 and labels.shape == (left,)
    return Stored(images=images, labels=labels, broken=broken) if right else None


def _write(folder: Path, size: int, count: int, chunks: Iterator[Chunk]) -> None:
    broken: list[Broken] = []
    labels: list[Labels] = []
    # Plain writes and not a memory map: on a full disk these raise, where a memory map kills the process.
    with (folder / "images.npy").open("wb") as file:
        _head(file, (count, 3, size, size))
        start = file.tell()
        for images, label, bad in chunks:
            file.write(np.ascontiguousarray(images).data)
            labels.append(label)
            broken += bad
        file.seek(0)
        _head(file, (count - len(broken), 3, size, size))
        if file.tell() != start:
            raise AssertionError("numpy pads heads, so that a smaller count fits in the same place")
        _sync(file)
    with (folder / "labels.npy").open("wb") as file:
        np.save(file, np.concatenate(labels))
        _sync(file)
    _note(folder, broken)


def _broken(entry: Path) -> list[Broken]:
    return [(int(place), str(why)) for place, why in json.loads((entry / "broken.json").read_text("utf-8"))]


def _known(entry: Path) -> list[Broken] | None:
    """What is noted of an entry, or None where nothing that can be read is."""
    try:
        return _broken(entry)
    except (OSError, ValueError, TypeError):
        return None


def _note(folder: Path, broken: list[Broken]) -> None:
    with (folder / "broken.json").open("w", encoding="utf-8") as file:
        json.dump(broken, file)
        _sync(file)


def _head(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _sync(file: IO[Any]) -> None:
    """Onto the disk before the entry gets its name: else a power cut leaves zeros of the right length."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new folder that takes the target's place when the block ends well, and vanishes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Inside the parent, so that the last step is a rename and not a copy.
    box = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", dir=target.parent))
    try:
        (box / "new").mkdir()
        yield box / "new"
        if target.exists():
            os.replace(target, box / "old")
        os.replace(box / "new", target)
    finally:
        shutil.rmtree(box, ignore_errors=True)


@contextmanager
def cache_writes() -> Iterator[None]:
    """Turns a full or forbidden cache folder into a sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The cache folder {cache_folder()} cannot be written ({error.strerror or error}). "
            "Make room there, or set SSLBENCH_CACHE to another folder."
        ) from error
