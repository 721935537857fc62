"""Atomic file writes: a reader sees the old content or the new content, never a part of it."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StorageError

HOST = f"{zlib.crc32(platform.node().encode()):08x}"  # process numbers mean something on their own machine only
TEMPORARY = re.compile(
    r"\..+\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part"  # `temporary_path`
    r"|\..+\.\d+-[0-9a-f]{8}\.part"  # its files in earlier versions
    r"|[0-9a-f]{24}\.\d+\.tmp"  # features in earlier versions
    r"|.+-[a-z0-9_]{8}\.part"  # arrays of images
)
STALE_SECONDS = 24 * 3600  # no process pauses that long while it writes a file


def atomic_write(path: Path, content: bytes) -> None:
    """Replaces a file's content; if the process dies on the way, the old file is untouched.

    Creates the folder where needed. Raises StorageError if the file cannot be written.
    """
    part = temporary_path(path)
    with raise_storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def temporary_path(target: Path) -> Path:
    """A path for the file that will replace ``target``; its name shows `remove_stale_files` who writes it."""
    # Unique per writer, and in the same folder: a rename is atomic only within one file system.
    return target.with_name(f".{target.name}.{HOST}-{os.getpid()}-{secrets.token_hex(4)}.part")


@contextmanager
def raise_storage_errors(path: Path) -> Iterator[None]:
    """Raises a StorageError that names ``path`` where the disk is full or the folder may not be written."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}). "
            "Free some space, give yourself write permission, or choose another folder."
        ) from error


def remove_stale_files(folder: Path) -> None:
    """Deletes temporary files that killed processes left in a folder, not in the folders inside it.

    A file is stale if its process has ended on this machine, or if it was last written a day ago.
    """
    with suppress(OSError):  # the folder may be missing or read-only, and others may clean it up at the same time
        for entry in list(os.scandir(folder)):
            name = TEMPORARY.fullmatch(entry.name)
            if name and (has_ended(name) or time.time() - entry.stat().st_mtime > STALE_SECONDS):
                os.unlink(entry.path)


def has_ended(name: re.Match[str]) -> bool:
    """Whether the process that a temporary file is named after certainly has ended."""
    # On Windows os.kill would end the process instead of asking for it.
    if os.name != "posix" or name["host"] != HOST:
        return False
    try:
        os.kill(int(name["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # the process is another user's
        return False
    return False
