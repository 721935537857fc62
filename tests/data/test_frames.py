"""Tests of the order of frames."""

from __future__ import annotations

from sslbench.bench.data._frames import natural_sort_key


def test_names_are_sorted_by_their_numbers() -> None:
    """Numbers are compared as numbers, text as text."""
    names = ["b10.jpg", "b2.jpg", "a3.jpg", "1.jpg"]
    assert sorted(names, key=natural_sort_key) == ["1.jpg", "a3.jpg", "b2.jpg", "b10.jpg"]
