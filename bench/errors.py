"""Mistakes that a user can make, and how an error message names the program and the nearest valid word."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

ENGINE = os.path.dirname(os.path.realpath(__file__))
LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")})
MAX_LISTED = 40  # more names than this do not fit into an error message


class UserError(Exception):
    """A mistake of the user, in one line: what is wrong, why, and the remedy. The command line exits with code 2."""

    def __str__(self) -> str:
        """The message; line breaks in names are written as escapes, so that it stays one line."""
        return printable(super().__str__())


class StorageError(UserError):
    """A file cannot be written: the disk is full, or the folder may not be written to."""


def printable(text: str, keep: str = "") -> str:
    """The text with line breaks, control characters and the like as escapes such as \\n, except those in ``keep``.

    Names may come from elsewhere, and could otherwise change what a terminal shows.
    """
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's categories of what is not shown by itself
    return "".join(ascii(c)[1:-1] if c not in keep and unicodedata.category(c) in hidden else c for c in text)


def program_name() -> str:
    """How this program was started, for messages that show a command: "sslbench" or "python -m sslbench".

    Otherwise, as in a test, it is the repository's script: "python run_bench.py".
    """
    started = Path(sys.argv[0])
    if started.name == "__main__.py" and started.parent.name == "sslbench":
        return "python -m sslbench"
    return "sslbench" if started.stem == "sslbench" else "python run_bench.py"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The last sentence of an error about an unknown word: the nearest known word, or all of them."""
    known = sorted(known)
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(known)}." if len(known) <= MAX_LISTED else f"{len(known)} are known."


def require(true: bool, setting: str, value: object, expected: str) -> None:
    """Raises UserError unless ``true``: the range check of a plugin's own settings."""
    if not true:
        raise UserError(f"{setting} = {value!r}: it must be {expected}.")


def plugin_traceback(error: BaseException) -> tuple[str, ...]:
    """Where an error passed through a plugin's code, the innermost place last: "file:line, in function: statement".

    Empty if it came from this project's engine or from a library alone. Files of this project are relative to its root.
    """
    root = os.path.dirname(ENGINE)
    places = []
    for frame in traceback.extract_tb(error.__traceback__):
        file = os.path.realpath(frame.filename)
        if not file.startswith((ENGINE + os.sep, *LIBRARIES)) and not frame.filename.startswith("<"):
            shown = os.path.relpath(file, root) if file.startswith(root + os.sep) else file
            places.append(f"{shown}:{frame.lineno}, in {frame.name}: {frame.line}")
    return tuple(places)


def with_place(message: str, places: tuple[str, ...]) -> str:
    """An error's message with the innermost place of its `plugin_traceback`, if there is one."""
    return f"{message} ({places[-1].partition(': ')[0]})" if places else message
