"""Decoded pictures in the cache, so that a data set is decoded once per machine.

An entry is a folder of images.npy, labels.npy and broken.json, and appears only when it is complete. The last file
holds checksums of the others, so that an entry damaged later is made again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..storage.cache import cache_folder, file_lock
from ..storage.hashing import fingerprint
from ._pictures import Broken, Pixels

ARRAYS = ("images.npy", "labels.npy")
Labels = NDArray[np.int64]
Chunk = tuple[Pixels, Labels, list[Broken]]


@dataclass(frozen=True, kw_only=True)
class StoredSplit:
    """The readable pictures of a split with their labels, and the broken ones."""

    images: Pixels  # (N, 3, S, S), a copy-on-write memory map
    labels: Labels  # (N,)
    broken: list[Broken]


def load_or_decode(name: str, size: int, count: int, chunks: Callable[[], Iterator[Chunk]]) -> StoredSplit:
    """The cache entry ``name`` of ``count`` pictures; if it is missing or damaged, it is made from ``chunks``."""
    entry = cache_folder() / "pictures" / name
    found = _read_entry(entry, size, count)
    if found is None:
        with cache_errors_as_user_errors(), file_lock(entry):
            found = _read_entry(entry, size, count)  # another process may have been faster
            if found is None:
                with replace_folder(entry) as folder:
                    _write_entry(folder, size, count, chunks())
                found = _read_entry(entry, size, count)
    if found is None:
        raise UserError(
            f"{entry}: a file just written there cannot be read again. Set SSLBENCH_CACHE to a folder on another disk."
        )
    return found


def load_or_find_broken(name: str, find: Callable[[], list[Broken]]) -> list[Broken]:
    """The broken pictures of a split that is read on demand: from the cache entry ``name``, else from ``find``."""
    entry = cache_folder() / "pictures" / name
    broken, _ = _read_broken(entry)
    if broken is None:
        with cache_errors_as_user_errors(), file_lock(entry):
            broken, _ = _read_broken(entry)  # another process may have been faster
            if broken is None:
                broken = find()
                with replace_folder(entry) as folder:
                    _write_broken(folder, broken)
    return broken


def _read_entry(entry: Path, size: int, count: int) -> StoredSplit | None:
    """The entry, or None if it is missing or damaged."""
    broken, checksums = _read_broken(entry)
    if broken is None:
        return None
    try:
        if any(_checksum(entry / name) != checksums.get(name) for name in ARRAYS):
            return None
        images = np.load(entry / "images.npy", mmap_mode="c", allow_pickle=False)
        labels = np.load(entry / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, TypeError, EOFError):
        return None
    readable = count - len(broken)
    valid = images.dtype == np.uint8 and images.shape == (readable, 3, size, size)
    valid &= labels.dtype == np.int64 and labels.shape == (readable,)
    return StoredSplit(images=images, labels=labels, broken=broken) if valid else None


def _write_entry(folder: Path, size: int, count: int, chunks: Iterator[Chunk]) -> None:
    broken: list[Broken] = []
    labels: list[Labels] = []
    # Plain writes and not a memory map: on a full disk these raise, where a memory map kills the process.
    with (folder / "images.npy").open("wb") as file:
        _write_header(file, (count, 3, size, size))
        start = file.tell()
        for chunk_images, chunk_labels, chunk_broken in chunks:
            file.write(np.ascontiguousarray(chunk_images).data)
            labels.append(chunk_labels)
            broken += chunk_broken
        file.seek(0)
        _write_header(file, (count - len(broken), 3, size, size))
        if file.tell() != start:
            raise AssertionError("numpy pads headers, so a smaller count must fit into the same space")
        sync_file(file)
    with (folder / "labels.npy").open("wb") as file:
        np.save(file, np.concatenate(labels))
        sync_file(file)
    _write_broken(folder, broken, {name: _checksum(folder / name) for name in ARRAYS})


def _read_broken(entry: Path) -> tuple[list[Broken] | None, dict[str, int]]:
    """The entry's broken pictures, or None if the file is missing or damaged; and the checksums of its arrays."""
    try:
        stored = json.loads((entry / "broken.json").read_text("utf-8"))
        broken = [(int(index), str(reason)) for index, reason in stored["broken"]]
        return (broken, stored["checksums"]) if stored["checksum"] == fingerprint(stored["broken"]) else (None, {})
    except (OSError, ValueError, TypeError, KeyError):
        return None, {}


def _write_broken(folder: Path, broken: list[Broken], checksums: dict[str, int] | None = None) -> None:
    with (folder / "broken.json").open("w", encoding="utf-8") as file:
        json.dump({"broken": broken, "checksum": fingerprint(broken), "checksums": checksums or {}}, file)
        sync_file(file)


def _checksum(path: Path) -> int:
    """CRC-32 of a file."""
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def sync_file(file: IO[Any]) -> None:
    """Writes to the disk before the entry is renamed: otherwise a power cut leaves zeros of the right length."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder that replaces the target if the block succeeds, and is deleted if it fails."""
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
def cache_errors_as_user_errors() -> Iterator[None]:
    """Raises a UserError for a cache folder that is full or not writable."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The cache folder {cache_folder()} cannot be written ({error.strerror or error}). "
            "Free some space there, or set SSLBENCH_CACHE to another folder."
        ) from error
