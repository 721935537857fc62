"""Atomic file writes: a reader sees the old content or the new content, never a part of it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..errors import UserError


def atomic_write(path: Path, content: bytes) -> None:
    """Replaces a file's content; if the process dies on the way, the old file is untouched.

    Creates the folder where needed. Raises UserError if the file cannot be written.
    """
    # The temporary file is unique per writer and in the same folder: a rename is atomic only within one file system.
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
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
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}). "
            "Free some space, give yourself write permission, or choose another folder."
        ) from error
