"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Puts a file in its place all at once; a crash on the way leaves the old one as it was."""
    # Its own name per writer, in the same folder: a rename is atomic only within one file system.
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
            "Make room or give yourself the right to write there, or choose another folder."
        ) from error
