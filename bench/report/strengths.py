"""Footnotes about regularisation strengths: chosen at an edge of their grid, or not chosen at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..records.record import Record

MANY = 6  # results that a footnote names


def strength_notes(measured: Sequence[Record], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Results whose strength is an end of the grid, and results for which none could be chosen."""
    at_edge: dict[str, None] = {}
    not_chosen: dict[str, None] = {}
    for record in measured:
        for result, details in results_with_strengths(record):
            name, strength = f"{labels[record.key]} {result}", details["strength"]
            grid = record.card.get("strengths") or ()
            accuracy = details.get("validation_accuracy")
            improvable = len(grid) > 1 and isinstance(accuracy, int | float) and accuracy < 1
            if details.get("strength_choice") == "not chosen":
                not_chosen[f"{name} ({strength:g})"] = None
            elif improvable and strength in (min(grid), max(grid)):
                at_edge[f"{name} ({strength:g})"] = None
    notes = []
    if at_edge:
        notes.append(("strength at the edge of its grid, a wider one may give more", shorten_names(at_edge)))
    if not_chosen:
        notes.append(("strength not chosen, no image can be held out", shorten_names(not_chosen)))
    return notes


def results_with_strengths(record: Record) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tap of each result that has a strength, and its details; the metric too where a tap has several results."""
    found = [one for one in record.measurements if isinstance((one.details or {}).get("strength"), int | float)]
    taps = [one.tap for one in found]
    for one in found:
        details = one.details or {}
        if taps.count(one.tap) == 1:
            yield f"at {one.tap}", details
        elif "_" in one.metric:  # a metric without a suffix repeats one of the others
            yield f"{one.metric.partition('_')[2]} at {one.tap}", details


def shorten_names(names: Mapping[str, None]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(list(names)[:MANY]) + more
