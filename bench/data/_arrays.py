"""Arrays in the cache: memory-mapped .npy files with a checksum, made once per machine."""

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


def load_or_make_array(
    file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], fill: Callable[[Array], None]
) -> Array:
    """The array in a cache file, memory-mapped; if the file is missing or damaged, ``fill`` makes it first."""
    if not is_intact(file, shape, dtype):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Each process writes a file of its own, so two at once do not interfere; the last to finish wins.
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.stem}-", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            out = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
            fill(out)
            out.flush()
            with part.open("r+b") as stream:
                checksum = crc32_bytes(stream, part.stat().st_size)
                stream.write(checksum)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
    return map_array(file)


def is_intact(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the file holds an array of this shape and type, followed by its correct checksum."""
    try:
        array = map_array(file)
        with file.open("rb") as stream:
            matches = crc32_bytes(stream, file.stat().st_size - 4) == stream.read()
    except (OSError, ValueError):
        return False
    return matches and array.shape == shape and array.dtype == dtype


def map_array(file: Path) -> Array:
    """The array of an .npy file, memory-mapped; bytes after it are ignored.

    The mapping is copy-on-write, because torch needs memory that it may write to and the file must not change.
    """
    return np.lib.format.open_memmap(file, mode="c")


def crc32_bytes(stream: BinaryIO, size: int) -> bytes:
    """The checksum (4 bytes) of the next ``size`` bytes of a stream."""
    checksum = 0
    while size > 0 and (piece := stream.read(min(size, 1 << 20))):
        checksum = zlib.crc32(piece, checksum)
        size -= len(piece)
    return checksum.to_bytes(4, "little")
