"""Hashes of values and of files."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, BinaryIO


def fingerprint(value: Any) -> str:
    """Hex digest (16 characters) of any value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content as a hex digest."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(stream: BinaryIO, size: int) -> bytes:
    """The CRC-32 (4 bytes) of the next ``size`` bytes of a stream: finds damage, at the speed of the disk."""
    value = 0
    while size > 0 and (piece := stream.read(min(size, 1 << 20))):
        value = zlib.crc32(piece, value)
        size -= len(piece)
    return value.to_bytes(4, "little")
