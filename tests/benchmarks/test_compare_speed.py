"""Comparison of two grids of 500 cells: reading, matching, significance tests and printing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sslbench.bench.records import store
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.report.compare import compare_folders
from sslbench.bench.report.comparison_formats import as_text
from tests.records.builders import changed_record, example_record

pytestmark = pytest.mark.slow

CELLS, IMAGES = 500, 2_000


@pytest.fixture(scope="module")
def grids(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two results folders of 500 records of two taps, 2,000 test images each."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, IMAGES)
    folders = [tmp_path_factory.mktemp(name) for name in ("baseline", "candidate")]
    for folder in folders:
        for n in range(CELLS):
            answers = {tap: np.where(generator.random(IMAGES) < 0.6, labels, 10) for tap in ("conv4", "conv5")}
            record = example_record(f"{n:016x}", cell={"method": f"method{n}"})
            measurements = (
                replace(one, value=float((answers[one.tap] == labels).mean())) for one in record.measurements
            )
            record = changed_record(record, measurements=tuple(measurements))
            store.write(folder / "records", record, Predictions(labels, answers))
    return folders


@pytest.mark.benchmark(group="compare of two grids of 500 cells")
def test_compare(benchmark, grids):
    """From two folders of records to the printed verdicts."""

    def compare():
        result = compare_folders(*grids)
        return result, as_text(result)

    result, _ = benchmark.pedantic(compare, rounds=3, warmup_rounds=1)
    assert len(result.cells) == 2 * CELLS
