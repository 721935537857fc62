"""Mistakes that a user can make, and how an error message names the program and the nearest valid word."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MAX_LISTED = 40  # more names than this do not fit into an error message


class UserError(Exception):
    """A mistake of the user, in one line: what is wrong, why, and the remedy. The command line exits with code 2."""


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
