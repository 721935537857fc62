"""Hashes of the content of data files, computed once per machine.

Each hash is kept in the cache together with the file's size, times and inode. It is computed again when one of these
differs, so a second look at a data set reads no file, and an edit that keeps the length is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..progress import with_progress_bar
from ..storage.atomic import atomic_write
from ..storage.cache import cache_folder
from ..storage.hashing import file_hash
from ._pictures import CHUNK, CORES, map_in_threads

LONG = 10 * 2**30  # bytes: hashing more than this takes minutes, so it is announced
TIME_GRAIN = 2 * 10**9  # nanoseconds: two edits within this time may leave the same times on the file
THREADS = max(8, CORES)  # most of the time is spent waiting for the disk

Known = dict[str, tuple["FileState", str]]  # path -> state of the file when it was hashed, and its hash


class FileState(NamedTuple):
    """What the file system says about a file. An edit changes at least one of these."""

    size: int  # bytes
    modified: int  # time of the last change of the content, nanoseconds; programs can set it
    changed: int  # time of the last change of the content, name or permissions, nanoseconds; programs cannot set it
    inode: int


def state_of(status: os.stat_result) -> FileState:
    """The state of a file from the result of ``stat``."""
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def hash_files(root: Path, paths: Sequence[str], states: Sequence[FileState], part: str = "") -> tuple[str, ...]:
    """SHA-256 of each file's content, in the order of the paths below ``root``; unchanged files are not read again.

    ``part`` names these files if there are several lists below one root. Raises UserError if a file cannot be read, and
    PermissionError if it must not.
    """
    started = time.time_ns()
    store = cache_folder() / "hashes" / hashlib.sha256(os.fsencode(f"{os.path.realpath(root)}|{part}")).hexdigest()
    known = _read_known(store)
    hashes = {
        path: known[path][1]
        for path, state in zip(paths, states, strict=True)
        if path in known and known[path][0] == state
    }
    new = [(path, state.size) for path, state in zip(paths, states, strict=True) if path not in hashes]
    if not new:
        return tuple(hashes[path] for path in paths)
    total = sum(size for _, size in new)
    if total > LONG:
        logging.getLogger(__name__).warning(
            "%s: hashing %.0f GB once, to notice every later change of a file.", root, total / 1e9
        )
    try:
        steps = _hash_new(root, new)
        for piece in with_progress_bar(steps, f"Hashing {root.name}", len(new), size_of=len):
            hashes |= piece
    finally:  # after an interruption, the next run continues from here
        _write_known(
            store,
            {
                path: (state, hashes[path])
                for path, state in zip(paths, states, strict=True)
                if path in hashes and max(state.modified, state.changed) < started - TIME_GRAIN
            },
        )
    return tuple(hashes[path] for path in paths)


def _hash_new(root: Path, files: Sequence[tuple[str, int]]) -> Iterator[dict[str, str]]:
    def hash_chunk(start: int) -> dict[str, str]:
        return {path: _hash_one(root / path) for path, _ in files[start : start + CHUNK]}

    yield from map_in_threads(hash_chunk, range(0, len(files), CHUNK), THREADS)


def _hash_one(path: Path) -> str:
    try:
        return file_hash(path)
    except PermissionError:
        raise
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}). Check the disk, and run again."
        ) from error


def _read_known(store: Path) -> Known:
    """The stored hashes; none if the file is missing or damaged."""
    try:
        checksum, _, content = store.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != checksum:
            return {}
        entries: dict[str, list[Any]] = json.loads(content)
        return {path: (FileState(*state), digest) for path, (*state, digest) in entries.items()}
    except (OSError, ValueError, TypeError):
        return {}


def _write_known(store: Path, known: Known) -> None:
    content = json.dumps({path: [*state, digest] for path, (state, digest) in known.items()}).encode()
    with contextlib.suppress(UserError):  # without a writable cache the files are hashed again next time
        atomic_write(store, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def check_unchanged(root: Path, paths: Sequence[str], states: Sequence[FileState]) -> None:
    """Raises UserError if a file's size or time is no longer the one that was listed."""
    for path, state in zip(paths, states, strict=True):
        try:
            now = os.stat(root / path)
            unchanged = (now.st_size, now.st_mtime_ns) == (state.size, state.modified)
        except OSError:
            unchanged = False
        if not unchanged:
            raise UserError(f"{root / path}: was changed while the data set was read. Run the same command again.")
