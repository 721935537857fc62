"""Mistakes of the user's, told in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

MANY = 40  # names that still fit an error


class UserError(Exception):
    """Names the thing, the reason and the mend; the command line prints it and exits with 2."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error sentence: the nearest known word, or all of them."""
    known = sorted(known)
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(known)}." if len(known) <= MANY else f"{len(known)} are known."


def require(true: bool, setting: str, value: object, expected: str) -> None:
    """Raises UserError unless ``true``: the range check of a plugin's own settings."""
    if not true:
        raise UserError(f"{setting} = {value!r}: it must be {expected}.")
