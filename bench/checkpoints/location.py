"""What a checkpoint's path stands for: a file, a part of a file (FILE#PART), or an index of several files.

An index lists which file holds each tensor, as Hugging Face's libraries write it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import UserError
from ..storage.hashing import file_hash

INDEX_ENDING = ".index.json"


def is_index(path: Path) -> bool:
    """Whether a file is named as an index of shards is."""
    return path.name.endswith(INDEX_ENDING)


def split_part(path: Path) -> tuple[Path, str]:
    """The path and the part of FILE#PART; the part is "" if there is none, or if a file has the whole name."""
    name, mark, part = path.name.rpartition("#")
    return (path.with_name(name), part) if mark and name and not path.exists() else (path, "")


def shards_of(index: Path) -> dict[Path, set[str]]:
    """The files that an index lists, and the names of the tensors in each.

    Raises UserError if the index is damaged, or names a file that is missing or outside of its folder.
    """
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        pairs = [(str(name), str(file)) for name, file in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{index}: is not an index of checkpoint files (no table weight_map); fetch it again."
        ) from None
    shards: dict[Path, set[str]] = {}
    # In the cache of the Hugging Face hub the index and its files are links into one other folder.
    allowed = {index.parent.resolve(), index.resolve().parent}
    for name, file in pairs:
        shard = index.parent / file
        if "\0" in file or shard.name != file or shard.resolve().parent not in allowed:
            raise UserError(f"{index}: names {ascii(file)[:60]}, which is not a file in its folder; it was not read.")
        if not shard.is_file() or is_index(shard):
            raise UserError(f"{index}: names {file}, which is missing here; fetch this file too.")
        shards.setdefault(shard, set()).add(name)
    if not shards:
        raise UserError(f"{index}: lists no tensors; fetch it again.")
    return shards


def content_hash(path: Path) -> str:
    """SHA-256 of a checkpoint's content: of its file, or of the index and of each file that it lists.

    The name of a part (FILE#PART) is hashed too.
    """
    path, part = split_part(path)
    if part:
        return hashlib.sha256(f"{content_hash(path)}#{part}".encode()).hexdigest()
    if not is_index(path):
        return file_hash(path)
    parts = [file_hash(path), *(file_hash(shard) for shard in sorted(shards_of(path)))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
