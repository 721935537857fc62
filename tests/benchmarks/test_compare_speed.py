"""The gate on two grids of 500 cells: read, matched, tested image by image and printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslbench.bench.records import record as records
from sslbench.bench.report import comparison_formats as verdicts
from sslbench.bench.report.compare import compared
from tests.test_records import example

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
            record = example(f"{n:016x}")
            record["cell"] |= {"method": f"method{n}"}
            for number in record["metrics"]:
                number["value"] = float((answers[number["tap"]] == labels).mean())
            records.write(folder / "records", record, answers | {"labels": labels})
    return folders


@pytest.mark.benchmark(group="compare of two grids of 500 cells")
def test_compare(benchmark, grids):
    """From two folders of records to the printed verdicts."""

    def told():
        result = compared(*grids)
        return result, verdicts.plain(result)

    result, _ = benchmark.pedantic(told, rounds=3, warmup_rounds=1)
    assert len(result.cells) == 2 * CELLS
