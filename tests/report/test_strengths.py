"""Footnotes about regularisation strengths."""

from __future__ import annotations

from typing import Any

import pytest

from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.record import Record
from sslbench.bench.report.strengths import strength_notes
from tests.records.builders import accuracy_record

CHOSEN = {"strength_choice": "held out", "validation_accuracy": 0.5}


def record_of(method: str, *details: dict[str, Any], grid: tuple[float, ...] = (0.01, 0.1, 1.0)) -> Record:
    """A record with a result at conv4 for each of the details, and one that repeats the first."""
    names = ["accuracy"] if len(details) == 1 else ["accuracy", *(f"accuracy_frozen_{n}" for n in range(len(details)))]
    each = details if len(details) == 1 else (details[0], *details)
    measurements = tuple(
        Measurement(tap="conv4", metric=name, value=0.5, details=detail)
        for name, detail in zip(names, each, strict=True)
    )
    return accuracy_record(method, 0, 0, 0, card={"strengths": list(grid)}, measurements=measurements)


@pytest.mark.parametrize(
    ("details", "grid", "note"),
    [
        ({"strength": 0.01} | CHOSEN, (0.01, 0.1, 1.0), "edge"),
        ({"strength": 1.0} | CHOSEN, (0.01, 0.1, 1.0), "edge"),
        ({"strength": 1.0, "validation_accuracy": 0.5}, (0.01, 0.1, 1.0), "edge"),
        ({"strength": 0.1} | CHOSEN, (0.01, 0.1, 1.0), None),
        ({"strength": 0.1} | CHOSEN, (0.1,), None),
        ({"strength": 0.01, "validation_accuracy": 1.0}, (0.01, 0.1, 1.0), None),
        ({"strength": 1.0, "strength_choice": "not chosen"}, (0.01, 0.1, 1.0), "not chosen"),
        ({"k": 3}, (0.01, 0.1, 1.0), None),
        ({"strength": "damaged"}, (0.01, 0.1, 1.0), None),
    ],
)
def test_a_note_names_the_result_and_its_strength(
    details: dict[str, Any], grid: tuple[float, ...], note: str | None
) -> None:
    """An end of the grid is noted, in records from before there was a ``strength_choice`` too."""
    record = record_of("rotnet", details, grid=grid)
    notes = strength_notes([record], {record.key: "rotnet"})
    assert len(notes) == (note is not None)
    if note:
        ((name, text),) = notes
        assert note in name
        assert text == f"rotnet at conv4 ({details['strength']:g})"


def test_results_of_one_tap_are_told_apart_and_many_are_counted() -> None:
    """The metric's suffix names a result; beyond six names the rest is a number."""
    records = [record_of(f"m{n}", {"strength": 1.0} | CHOSEN, {"strength": 0.1} | CHOSEN) for n in range(8)]
    ((_, note),) = strength_notes(records, {record.key: record.cell.method for record in records})
    assert "m0 frozen_0 at conv4 (1), m1 frozen_0 at conv4 (1)" in note
    assert note.endswith(" and 2 more")
    assert "frozen_1" not in note
