"""Ten thousand records read and tabulated, and the page of five hundred cells: time, memory and size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import record as records
from sslbench.bench.records.mistakes import KEPT, SIDE
from sslbench.bench.report.page import render_page
from sslbench.bench.report.render import report
from tests.test_report import cell

pytestmark = pytest.mark.slow

MEGABYTES = 500

READ = r"""
import json, re, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
from sslbench.bench.records.record import read_all; from sslbench.bench.report.render import report
began = time.process_time()
found, damaged = read_all(folder / "records")
made = report(found, folder=folder, formats=("md", "csv", "tex", "html"), whole=False)
seconds = time.process_time() - began
# The resource module would tell the peak of the process that started this one, where that was higher.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([len(found), len(made.tables), seconds, peak]))
"""


def stored(folder: Path, methods: int, seeds: int, places: int, images: int) -> int:
    """Records as a grid leaves them, with predictions of so many images; how many there are."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, images)
    for place in range(places):
        for method in range(methods):
            for seed in range(seeds):
                right = 0.4 + 0.4 * method / methods
                record = cell(f"method{method}", seed, right, right, kind="pretrained")
                record["card"] |= {"test_images": images}
                record["cell"] |= {"dataset": f"data{place % 10}", "encoder": f"encoder{place // 10}"}
                record["key"] = records.fingerprint([record["cell"]])
                own = {
                    tap: np.where(generator.random(images) < right, truth, (truth + 1) % 10)
                    for tap in ("conv4", "conv5")
                }
                records.write(folder / "records", record, own | {"labels": truth})
    return methods * seeds * places


def test_ten_thousand_records_are_read_and_tabulated(tmp_path: Path, benchmark: Any) -> None:
    """40 tables of 25 methods and 10 seeds, predictions of 1,000 images each: 5 s of one core and 500 MB at most."""
    benchmark.group = "report"
    count = stored(tmp_path, methods=25, seeds=10, places=40, images=1000)

    def made() -> list[float]:
        command = [sys.executable, "-c", READ, str(tmp_path)]
        return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    found, tables, _, megabytes = benchmark.pedantic(made, rounds=1)
    assert (found, tables) == (count, 40)
    assert megabytes < MEGABYTES, megabytes


def test_the_page_of_five_hundred_cells(tmp_path: Path, benchmark: Any) -> None:
    """With confusion, mistakes and figures the page stays under 5 MB."""
    benchmark.group = "report"
    count = stored(tmp_path, methods=25, seeds=2, places=10, images=2000)
    noise = np.random.default_rng(0).integers(0, 256, (2 * SIDE, KEPT * SIDE, 3), dtype=np.uint8)
    from PIL import Image

    found, _ = records.read_all(tmp_path / "records")
    one = {"image": 3, "label": 1, "predicted": 2, "confidence": 0.99}
    for record in found:
        file = tmp_path / f"{record['key']}.webp"
        Image.fromarray(noise).save(file, "webp", quality=75)
        record |= {"mistakes": {tap: [one] * KEPT for tap in ("conv4", "conv5")}, "pictures": str(file)}
    made = report(found, folder=tmp_path, formats=("png",), whole=True)
    text = benchmark.pedantic(lambda: render_page(made), rounds=1)
    assert len(found) == count
    assert 500_000 < len(text.encode()) < 5_000_000
