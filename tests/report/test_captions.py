"""Captions: each part of their sentences, from planted numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslbench.bench.records import store
from sslbench.bench.records.comparable import CEILING, FLOOR
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.captions import join_names
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record, fraction

N = 400
LABELS = np.zeros(N, np.int64)


def measured(folder: Path, method: str, right: int, **changes: object) -> Record:
    """A stored record that is right on the first ``right`` of N images."""
    predictions = np.where(np.arange(N) < right, LABELS, 1)
    measurements = (fraction(tap="conv5", value=right / N, ci_low=right / N - 0.04, ci_high=right / N + 0.04),)
    card = {"taps": ["conv5"], "test_images": N}
    kind = "untrained" if method == FLOOR else "bundled"
    record = accuracy_record(method, 0, 0, 0, kind=kind, measurements=measurements, card=card, **changes)
    path = store.write(folder, record, Predictions(LABELS, {"conv5": predictions}))
    return store.read(path)


def caption_of(folder: Path, **right: int) -> str:
    """The caption of a table of methods that are right on so many images."""
    (table,) = build_tables([[measured(folder, method, count) for method, count in right.items()]], (), {}, {})
    return table.caption


def test_what_stands_apart_and_what_is_tied_behind_it(tmp_path: Path) -> None:
    """McNemar: 40 images that only one got right are significant, 4 are not."""
    caption = caption_of(tmp_path, moco=240, rotnet=360, vicreg=238, nat=200, supervised=400, random=100)
    assert caption == (
        "rotnet stands apart at conv5 (90.0 %); behind it moco (60.0 %) is tied with vicreg. "
        "All 4 methods are significantly better than the untrained encoder (25.0 %)."
    )
    assert "behind it moco (60.0 %) comes next." in caption_of(tmp_path, moco=240, rotnet=360, nat=200)


def test_what_is_tied_with_the_best_and_what_is_not_above_the_floor(tmp_path: Path) -> None:
    """Rows that are equal to, below or hardly above the floor are not better than it."""
    caption = caption_of(tmp_path, moco=300, rotnet=301, bigan=102, denoising=100, nat=60, random=100)
    assert caption == (
        "rotnet is best at conv5 (75.3 %), tied with moco. "
        "bigan, denoising and nat are not significantly better than the untrained encoder (25.0 %)."
    )
    assert caption_of(tmp_path, rotnet=100, random=100) == (
        "rotnet has 25.0 % at conv5. rotnet is not significantly better than the untrained encoder (25.0 %)."
    )
    assert caption_of(tmp_path, rotnet=300, random=100).endswith("It is significantly better than the untrained "
                                                                 "encoder (25.0 %).")  # fmt: skip


def test_kinds_of_learning_are_not_compared(tmp_path: Path) -> None:
    """CLIP learns from captions: it is in the floor's sentence alone."""
    caption = caption_of(tmp_path, clip=390, rotnet=360, moco=240, random=100)
    assert caption.startswith("Of the methods that learn from images alone, rotnet stands apart at conv5 (90.0 %)")
    assert "All 3 methods" in caption


def test_without_predictions_nothing_is_said_about_ties() -> None:
    """Rows are then compared with the floor by their intervals, and a row without one is named."""
    runs = [accuracy_record(method, 0, 0.5, value) for method, value in (("rotnet", 0.61), ("moco", 0.59))]
    floor = accuracy_record(FLOOR, 0, 0.5, 0.56, kind="untrained")
    (table,) = build_tables([[*runs, floor]], (), {}, {})
    assert table.caption == (
        "rotnet is best at conv5 (61.0 %). moco is not significantly better than the untrained encoder (56.0 %)."
    )
    bare = accuracy_record("nat", 0, 0.5, 0.7, measurements=(fraction(tap="conv5", value=0.7),))
    (table,) = build_tables([[*runs, floor, bare]], (), {}, {})
    assert table.caption.endswith("untrained encoder (56.0 %); not tested: nat.")


def test_a_lower_value_can_be_better() -> None:
    """The lowest error is the best one, and its unit is in the sentence."""
    runs = [
        accuracy_record(
            method,
            0,
            0,
            0,
            measurements=(
                Measurement(
                    tap="conv5", metric="rmse", unit="px", value=value, higher_is_better=False,
                    ci_low=value - 0.1, ci_high=value + 0.1,
                ),
            ),
        )
        for method, value in (("rotnet", 1.0), ("moco", 1.9), (FLOOR, 2.0))
    ]  # fmt: skip
    (table,) = build_tables([runs], (), {"linear": "rmse"}, {})
    assert table.caption == (
        "rotnet is best at conv5 (1.000 px). moco is not significantly better than the untrained encoder (2.000 px)."
    )


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcdefg"), "a, b, c, d, e, f and g"),
        (list("abcdefgh"), "a, b, c, d, e, f and 2 others"),
    ],
)
def test_many_names_are_counted(names: list[str], text: str) -> None:
    """Six names and the number of the others."""
    assert join_names(names) == text


def test_only_references_have_no_caption(tmp_path: Path) -> None:
    """Floor and ceiling alone say nothing about methods."""
    assert caption_of(tmp_path, **{FLOOR: 100, CEILING: 300}) == ""
