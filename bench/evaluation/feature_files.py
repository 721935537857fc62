"""Files of features in the cache: .npy arrays followed by a checksum, so that damage is never read as features."""

from __future__ import annotations

import math
import os
import shutil
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import StorageError
from ..storage.atomic import raise_storage_errors, temporary_path
from ..storage.hashing import checksum

CACHE_LIMIT = 20 * 2**30  # bytes of stored features; beyond it the least recently used files are deleted
MINIMUM_AGE = 3600  # seconds since a file's last use before it may be deleted
CHECKSUM_BYTES = 4


class FeatureWriter:
    """Writes features (N, ...) batch by batch into a temporary file, which replaces ``target`` when it is complete.

    Every method raises StorageError where the disk is full or the folder cannot be written.
    """

    def __init__(self, target: Path, shape: tuple[int, ...]) -> None:
        self.target, self.temporary = target, temporary_path(target)
        with raise_storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            make_room(target.parent, 4 * math.prod(shape))
            # Plain writes and not a memory map: on a full disk these raise, where a memory map kills the process.
            self.file = open(self.temporary, "x+b")  # noqa: SIM115 - closed by `finish` or `discard`
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self.file, header)
            self.file.flush()
            self.file.seek(0)
            self.checksum = zlib.crc32(self.file.read())

    def append(self, features: Tensor) -> None:
        """Writes the features (n, ...) of the next images."""
        content = np.ascontiguousarray(features.cpu().numpy(), dtype="<f4").tobytes()
        self.checksum = zlib.crc32(content, self.checksum)
        with raise_storage_errors(self.target):
            self.file.write(content)

    def finish(self) -> None:
        """Makes the file appear as ``target``."""
        with raise_storage_errors(self.target):
            self.file.write(self.checksum.to_bytes(CHECKSUM_BYTES, "little"))
            self.file.flush()
            # Before the rename: otherwise a power cut leaves zeros of the right length.
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self.temporary, self.target)

    def discard(self) -> None:
        """Deletes the temporary file if there still is one."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)


def is_intact(path: Path, images: int) -> bool:
    """Whether a file holds the features of this many images, followed by their correct checksum; reads all of it."""
    try:
        size = path.stat().st_size - CHECKSUM_BYTES
        with path.open("rb") as file:
            return size > 0 and checksum(file, size) == file.read() and map_features(path).shape[0] == images
    except (OSError, ValueError):
        return False


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Something that changes when a file is written again; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_features(path: Path, device: torch.device) -> Tensor:
    """The features (N, ...) in a file, which then counts as used."""
    with suppress(OSError):  # a cache that cannot be written is still good to read
        os.utime(path)
    return torch.from_numpy(map_features(path)).to(device)


def map_features(path: Path) -> np.memmap[tuple[int, ...], np.dtype[np.float32]]:
    """The array in a file. Copy on write: torch requires writable memory, and the file must not change."""
    mapped: np.memmap[tuple[int, ...], np.dtype[np.float32]] = np.lib.format.open_memmap(path, mode="c")
    return mapped


def make_room(folder: Path, needed: int) -> None:
    """Deletes old feature files where the cache would exceed its limit. Raises StorageError where the disk is full."""
    stored = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # another process may rename or delete files at the same time
            stored.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    stored.sort()
    total = sum(size for _, size, _ in stored) + needed
    for used, size, path in stored:
        if total > CACHE_LIMIT and time.time() - used > MINIMUM_AGE:
            with suppress(OSError):
                os.unlink(path)
            total -= size
    if shutil.disk_usage(folder).free < needed:
        raise StorageError(f"{folder}: {needed:,} bytes of features do not fit on this disk; free some space.")
