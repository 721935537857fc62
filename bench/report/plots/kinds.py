"""The colour and the marker of a method's point: what its weights learned from.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; markers do it in print without colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..learning import IMAGES, UNKNOWN, beyond_images


class Mark(NamedTuple):
    """How points of one kind are drawn."""

    colour: str
    marker: str


MARKS = {
    IMAGES: Mark("#0072b2", "o"),
    "images and clips": Mark("#d55e00", "s"),
    "images and captions": Mark("#cc79a7", "D"),
    "images and depth": Mark("#009e73", "^"),
    "images and labels": Mark("#000000", "v"),
    UNKNOWN: Mark("#777777", "X"),
}
OTHER_MARKS = (Mark("#e69f00", "P"), Mark("#56b4e9", "<"), Mark("#8c6d31", ">"), Mark("#882255", "p"))


def marks_of(kinds: Iterable[str]) -> dict[str, Mark]:
    """The mark of each kind, in the order of the legend; the same in all figures unless a kind is a rare one."""
    given = set(kinds)
    others = sorted(given - MARKS.keys())
    rare = {kind: OTHER_MARKS[place % len(OTHER_MARKS)] for place, kind in enumerate(others)}
    return {kind: mark for kind, mark in (MARKS | rare).items() if kind in given}


def kind_name(kind: str) -> str:
    """A kind of learning in a legend, such as "images + clips"."""
    extra = beyond_images(kind)
    return f"images {extra}" if extra else "not known" if kind == UNKNOWN else kind
