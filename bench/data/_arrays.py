"""Arrays in the cache: memory-mapped .npy files with a checksum, made once per machine."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..storage.atomic import temporary_path
from ._store import cache_errors_as_user_errors, sync_file

Array = NDArray[Any]
Piece = tuple[Sequence[int] | NDArray[np.int64], Array]  # indices along the first axis, and the values there


def load_or_make_array(
    file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Callable[[], Iterable[Piece]]
) -> Array:
    """The array in a cache file, memory-mapped; if the file is missing or damaged, it is first made from ``pieces``.

    Raises UserError if the cache cannot be written.
    """
    if not is_intact(file, shape, dtype):
        with cache_errors_as_user_errors():
            file.parent.mkdir(parents=True, exist_ok=True)
            # Each process writes a file of its own, so two at once do not interfere; the last to finish wins.
            part = temporary_path(file)
            try:
                with part.open("x+b") as stream:
                    write_pieces(stream, shape, dtype, pieces())
                os.replace(part, file)
            finally:
                part.unlink(missing_ok=True)
    return map_array(file)


def write_pieces(
    stream: BinaryIO | IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Iterable[Piece]
) -> None:
    """Writes an .npy file and its checksum.

    These are plain writes and not a memory map: on a full disk they raise, where a memory map kills the process.
    """
    np.lib.format.write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    start, row = stream.tell(), dtype.itemsize * int(np.prod(shape[1:]))
    stream.truncate(start + row * shape[0])
    for indices, values in pieces:
        for index, value in zip(indices, values, strict=True):
            stream.seek(start + row * int(index))
            stream.write(np.ascontiguousarray(value, dtype).tobytes())
    stream.seek(0)
    checksum = crc32_bytes(stream, start + row * shape[0])
    stream.write(checksum)
    sync_file(stream)


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


def crc32_bytes(stream: BinaryIO | IO[bytes], size: int) -> bytes:
    """The checksum (4 bytes) of the next ``size`` bytes of a stream."""
    checksum = 0
    while size > 0 and (piece := stream.read(min(size, 1 << 20))):
        checksum = zlib.crc32(piece, checksum)
        size -= len(piece)
    return checksum.to_bytes(4, "little")
