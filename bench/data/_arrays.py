"""Arrays kept in the cache as memory-mapped files with a checksum, so that they are made once on a machine."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def kept(file: Path, shape: tuple[int, ...], kind: np.dtype[Any], fill: Callable[[Array], None]) -> Array:
    """The array of a cache file, memory-mapped; made by ``fill`` first where the file is missing or damaged."""
    if not sound(file, shape, kind):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Each run writes a file of its own, so two at once do not meet; the last to finish stays.
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.stem}-", suffix=".part")
        os.close(handle)
        made = Path(name)
        try:
            out = np.lib.format.open_memmap(made, mode="w+", dtype=kind, shape=shape)
            fill(out)
            out.flush()
            with made.open("r+b") as stream:
                checksum = crc32(stream, made.stat().st_size)
                stream.write(checksum)
            os.replace(made, file)
        finally:
            made.unlink(missing_ok=True)
    # Copy-on-write: torch wants memory that it may write to, and the file must not change.
    return mapped(file)


def sound(file: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> bool:
    """Whether the file holds such an array, and the checksum after it fits."""
    try:
        array = mapped(file)
        with file.open("rb") as stream:
            fits = crc32(stream, file.stat().st_size - 4) == stream.read()
    except (OSError, ValueError):
        return False
    return fits and array.shape == shape and array.dtype == kind


def mapped(file: Path) -> Array:
    """The array of an .npy file; what follows it is ignored."""
    return np.lib.format.open_memmap(file, mode="c")


def crc32(stream: BinaryIO, size: int) -> bytes:
    """The checksum, 4 bytes, of the next ``size`` bytes."""
    checksum = 0
    while size > 0 and (piece := stream.read(min(size, 1 << 20))):
        checksum = zlib.crc32(piece, checksum)
        size -= len(piece)
    return checksum.to_bytes(4, "little")
