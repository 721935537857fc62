"""Numbers as they are printed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sslbench.bench.records.measurement import format_number, short_number
from sslbench.bench.records.record import from_json, to_json
from tests.records.builders import example_record


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0005, "fraction", "0.1"),  # f"{0.05:.1f}" is 0.1 and round(0.05, 1) of NumPy 0.0
        (0.4845, "fraction", "48.5"),  # 969 of 2,000 images; 100 * 0.4845 is 48.449999999999996
        (np.float64(0.4855), "fraction", "48.6"),
        ((0.485 + 0.484) / 2, "fraction", "48.5"),
        (-0.0005, "fraction", "-0.1"),
        (-0.0001, "fraction", "0.0"),
        (1, "fraction", "100.0"),
        (21.5, "px", "21.500"),
        (0.0005, "", "0.001"),
        (None, "fraction", "-"),
        (math.nan, "", "-"),
        (math.inf, "", "-"),
        (1e300, "", f"{10**300}.000"),
    ],
)
def test_half_way_cases_go_away_from_zero(value: float | None, unit: str, text: str) -> None:
    """The shortest decimal is rounded, so that binary digits decide nothing."""
    assert format_number(value, unit) == text


def test_signs_and_digits_can_be_chosen() -> None:
    """A difference has a sign, and a paper's numbers their own digits."""
    assert [format_number(value, sign="+") for value in (0.0125, -0.0125, 0)] == ["+1.3", "-1.3", "+0.0"]
    assert format_number(0.89065, digits=2) == "89.07"


def test_counts_have_prefixes() -> None:
    """Two or three significant digits, in steps of a thousand."""
    values = (36_254_817_189_888, 2_345_678, 999_999, 950, 12, 9_960_000, 3.2e15, 0, None, math.nan)
    texts = ["36 T", "2.3 M", "1.0 M", "1.0 k", "12", "10 M", "3.2 P", "-", "-", "-"]
    assert [short_number(value) for value in values] == texts


def test_records_from_before_units_go_by_the_metrics_name() -> None:
    """An accuracy is a fraction whose chance level is one over the number of classes; a new record is as it says."""
    new = to_json(example_record(card={"classes": 4}))
    old = new | {"measurements": [{"tap": "conv5", "metric": name, "value": 0.5} for name in ("knn_accuracy", "psnr")]}
    assert [(m.unit, m.chance) for m in from_json(old).measurements] == [("fraction", 0.25), ("", None)]
    named = [new["measurements"][0] | {"metric": "accuracy", "unit": "px"}]
    assert from_json(new | {"measurements": named}).measurements[0].unit == "px"
