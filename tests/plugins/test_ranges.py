"""Ranges in signatures: what an annotation's text stands for, which values it allows, and how it is described."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sslbench.bench.plugins.ranges import parse_value, range_in_words, read_annotation, type_in_words, violation

ROWS = [  # annotation, its type and range in words, values inside, values outside
    ("Count", "int", "at least 1", [1, 7], [0, -1]),
    ("Positive", "float", "above 0", [1e-9, 3.0], [0.0, -1.0, math.inf, math.nan]),
    ("NonNegative", "float", "at least 0", [0.0, 2.5], [-0.1, math.inf]),
    ("Share", "float", "from 0 to 1", [0.0, 0.5, 1.0], [-0.1, 1.1, math.nan]),
    ("PositiveShare", "float", "above 0, at most 1", [0.1, 1.0], [0.0, 1.1]),
    ("ShareBelowOne", "float", "from 0 to below 1", [0.0, 0.999], [1.0]),
    ("Annotated[int, Interval(ge=3, le=5)]", "int", "from 3 to 5", [3, 5], [2, 6]),
    ("Annotated[int, Ge(4), MultipleOf(4)]", "int", "at least 4, a multiple of 4", [4, 8], [0, 6]),
    ("Count | None", "int", "at least 1, or none", [1, None], [0]),
    ("tuple[Annotated[int, Ge(2)], ...]", "list of int", "at least 2 each", [(), (2, 9)], [(2, 1)]),
    (
        "Annotated[tuple[Positive, ...], MinLen(1)]",
        "list of float",
        "above 0 each, at least 1 value",
        [(1.0,)],
        [(), (0.0,)],
    ),
    ("Literal['rows', 'frames']", "one of rows, frames", "", ["rows"], ["row"]),
    ("float", "float", "", [-1.0], [math.inf]),
    ("bool", "bool", "", [True, False], []),
    ("str | None", "str", "", [None, "x"], []),
]


@pytest.mark.parametrize(("annotation", "kind", "words", "inside", "outside"), ROWS)
def test_a_range_is_checked_and_described(annotation: str, kind: str, words: str, inside: list, outside: list) -> None:
    """Each annotation allows the values inside of its range, refuses those outside, and has a description."""
    hint = read_annotation(annotation)
    assert (type_in_words(hint), range_in_words(hint)) == (kind, words)
    assert [value for value in inside if violation(value, hint)] == []
    assert [value for value in outside if not violation(value, hint)] == []


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("Count | None", "none", None),
        ("Count", "65_536", 65536),
        ("Share", "0.5", 0.5),
        ("bool", "off", False),
        ("tuple[Count, ...]", "(1, 2)", (1, 2)),
        ("Literal[1, 2]", "2", 2),
        ("str", "none", "none"),
    ],
)
def test_a_text_is_parsed(annotation: str, text: str, value: Any) -> None:
    """A word from the command line becomes a value of the annotated type."""
    assert parse_value(text, read_annotation(annotation)) == value


@pytest.mark.parametrize(
    "annotation", ["__import__('os').system('true')", "Gt(0).__class__", "Tensor", "[x for x in (1,)]"]
)
def test_an_annotation_runs_no_code(annotation: str) -> None:
    """Only type names, ranges and literals are read; anything else is refused without being run."""
    with pytest.raises(ValueError, match="no type of a setting"):
        read_annotation(annotation)
