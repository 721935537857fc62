"""A table as cells: where the row for chance is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.records.measurement import Measurement
from sslbench.bench.report.grids import with_chance_row
from sslbench.bench.report.render import write_report
from tests.records.builders import accuracy_record


@pytest.mark.parametrize(
    ("higher", "expected"), [(True, ["c", "chance", "b", "a"]), (False, ["a", "b", "chance", "c"])]
)
def test_chance_is_between_the_rows_that_are_better_and_worse(
    higher: bool, expected: list[str], tmp_path: Path
) -> None:
    """For an error, better is lower."""
    declared = {"metric": "error", "higher_is_better": higher, "chance": 0.5}
    records = [
        accuracy_record(
            method,
            0,
            0,
            0,
            measurements=tuple(Measurement(tap=tap, value=value, **declared) for tap in ("conv4", "conv5")),
        )
        for method, value in (("a", 0.1), ("b", 0.4), ("c", 0.6))
    ]
    (table,) = write_report(records, folder=tmp_path, headlines={"linear": "error"}, formats=()).tables
    assert [label for label, _ in with_chance_row(table)] == expected
