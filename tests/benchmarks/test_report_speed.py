"""Time, memory and size: tables of ten thousand records, and the page of five hundred cells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store
from sslbench.bench.records.mistakes import PER_TAP, SIDE
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.records.record import Mistake
from sslbench.bench.report.page import render_page
from sslbench.bench.report.render import write_report
from tests.records.builders import accuracy_record, changed_record

pytestmark = pytest.mark.slow

MEGABYTES = 500

READ = r"""
import json, re, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
from sslbench.bench.records.store import read_all; from sslbench.bench.report.render import write_report
began = time.process_time()
found, damaged = read_all(folder / "records")
made = write_report(found, folder=folder, formats=("md", "csv", "tex", "html"), whole=False)
seconds = time.process_time() - began
# The resource module would report the peak of the parent process where that was higher.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([len(found), len(made.tables), seconds, peak]))
"""


def write_records(folder: Path, methods: int, seeds: int, tables: int, images: int) -> int:
    """Writes the records of a grid with predictions of the given number of images; returns how many records."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, images)
    for table in range(tables):
        for method in range(methods):
            for seed in range(seeds):
                right = 0.4 + 0.4 * method / methods
                record = accuracy_record(
                    f"method{method}",
                    seed,
                    right,
                    right,
                    kind="pretrained",
                    card={"taps": ["conv4", "conv5"], "head": "linear", "test_images": images},
                    cell={"dataset": f"data{table % 10}", "encoder": f"encoder{table // 10}"},
                )
                own = {
                    tap: np.where(generator.random(images) < right, truth, (truth + 1) % 10)
                    for tap in ("conv4", "conv5")
                }
                store.write(folder / "records", record, Predictions(truth, own))
    return methods * seeds * tables


def test_ten_thousand_records_are_read_and_tabulated(tmp_path: Path, benchmark: Any) -> None:
    """40 tables of 25 methods and 10 seeds, predictions of 1,000 images each: 5 s of one core and 500 MB at most."""
    benchmark.group = "report"
    count = write_records(tmp_path, methods=25, seeds=10, tables=40, images=1000)

    def made() -> list[float]:
        command = [sys.executable, "-c", READ, str(tmp_path)]
        return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    found, tables, _, megabytes = benchmark.pedantic(made, rounds=1)
    assert (found, tables) == (count, 40)
    assert megabytes < MEGABYTES, megabytes


def test_the_page_of_five_hundred_cells(tmp_path: Path, benchmark: Any) -> None:
    """With confusion, mistakes and figures the page stays under 5 MB."""
    benchmark.group = "report"
    count = write_records(tmp_path, methods=25, seeds=2, tables=10, images=2000)
    noise = np.random.default_rng(0).integers(0, 256, (2 * SIDE, PER_TAP * SIDE, 3), dtype=np.uint8)
    from PIL import Image

    one = Mistake(image=3, label=1, predicted=2, confidence=0.99)
    mistakes = dict.fromkeys(("conv4", "conv5"), (one,) * PER_TAP)
    found = []
    for record in store.read_all(tmp_path / "records")[0]:
        Image.fromarray(noise).save(tmp_path / "records" / f"{record.key}.webp", "webp", quality=75)
        found.append(changed_record(record, mistakes=mistakes, pictures=f"{record.key}.webp"))
    made = write_report(found, folder=tmp_path, formats=("png",), whole=True)
    text = benchmark.pedantic(lambda: render_page(made), rounds=1)
    assert len(found) == count
    assert 500_000 < len(text.encode()) < 5_000_000
