"""The gate against regressions: a small grid of methods and protocols, compared with the records in results/baseline.

``python -m tests.gate`` measures the grid and fails where a method got worse. With ``--renew`` it renews the baseline.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT

BASELINE, RESULTS = ROOT / "results" / "baseline", ROOT / "results" / "local" / "gate"
METHODS = ("random", "supervised", "rotnet", "jigsaw", "moco", "simclr", "barlow_twins")
# With k = half of the train images, a temperature without effect lowers the accuracy of kNN.
PROTOCOLS = {
    "linear": ("linear.features=256", "linear.strengths=0.01"),
    "knn": ("knn.k=1000", "knn.temperature=0.01"),
}
# Few images and a narrow encoder for speed; fixed precision and strength, so that rounding changes no decision.
OPTIONS = ("--preset", "smoke", "--device", "cpu", "--precision", "fp32")
SETTINGS = ("recipe.views=8000", "convnet.width=8", "synthetic.train=2000")
TOLERANCE = 0.02


def measure(results: Path, methods: Sequence[str] = METHODS, protocols: Sequence[str] = tuple(PROTOCOLS)) -> int:
    """Trains and probes some methods of the grid; returns the exit code."""
    settings = [*SETTINGS, *(setting for protocol in protocols for setting in PROTOCOLS[protocol])]
    words = ["--methods", ",".join(methods), "--protocol", ",".join(protocols), *OPTIONS, "--results", str(results)]
    return main([*words, *(word for setting in settings for word in ("--set", setting))])


def compare_with_baseline() -> int:
    """Measures the grid and compares it with the baseline; returns the exit code."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    files = ["--junit", str(RESULTS / "junit.xml"), "--markdown", str(RESULTS / "gate.md")]
    return measure(RESULTS) or main(["compare", str(BASELINE), str(RESULTS), "--tolerance", str(TOLERANCE), *files])


def renew_baseline() -> int:
    """Replaces the records of the baseline; returns the exit code."""
    shutil.rmtree(BASELINE, ignore_errors=True)
    code = measure(BASELINE)
    for entry in BASELINE.iterdir():
        if entry.name != "records":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.gate", description="Compares a small grid with its baseline."
    )
    parser.add_argument("--renew", action="store_true", help="replace the baseline instead")
    renew = parser.parse_args().renew
    # An empty cache, since cached encoders and features would hide what the code does now.
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SSLBENCH_CACHE"] = cache
        raise SystemExit(renew_baseline() if renew else compare_with_baseline())
