"""Records as a data frame."""

from __future__ import annotations

from sslbench.bench.report.frame import CELL, records_frame
from tests.records.builders import example_record


def test_the_frame_is_tidy() -> None:
    """There is a row per record, tap and metric; a failed record is one row without a number."""
    failed = example_record("f" * 16, status="failed", error="loss is not finite", measurements=())
    rows = records_frame([example_record(), failed])
    assert rows[["key", "tap", "value"]].astype(object).where(rows.notna(), None).to_numpy().tolist() == [
        ["0123456789abcdef", "conv4", 0.5],
        ["0123456789abcdef", "conv5", 0.25],
        ["f" * 16, None, None],
    ]
    assert set(CELL) <= set(rows.columns)
    assert rows["source"].tolist() == ["bundled"] * 3
    assert rows["pretrain_views"].tolist() == [12_000] * 3
    assert rows["card"].nunique() == 1


def test_no_records_are_an_empty_frame() -> None:
    """The columns are there without rows."""
    assert records_frame([]).empty
    assert "ci_low" in records_frame([]).columns
