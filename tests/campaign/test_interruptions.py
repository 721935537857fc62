"""Runs that are killed and stopped at random moments: what is resumed equals an uninterrupted run bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from sslbench.bench.records.record import Record
from tests.builders import QUICK_OPTIONS

pytestmark = pytest.mark.slow

MOMENTS = 12  # of each signal; each costs a start of the program, which takes most of the time
WORDS = ["--methods", "rotnet,random", "--protocol", "knn,linear", "--set", "knn.k=20", *QUICK_OPTIONS]


def start(folder: Path, cache: Path) -> subprocess.Popen[bytes]:
    """A run with its results in a folder, in a process of its own."""
    environment = os.environ | {"SSLBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run_bench.py", *WORDS, "--results", str(folder / "results")]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(folder: Path, cache: Path) -> float:
    """Runs to the end and returns the seconds it took."""
    began = time.monotonic()
    process = start(folder, cache)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed.decode()
    return time.monotonic() - began


def results_of(folder: Path) -> dict[str, object]:
    """Everything that a run decides, by key of the cell; none may be damaged."""
    found, damaged = records.read_all(folder / "results" / "records")
    assert damaged == []

    def decided(record: Record) -> tuple[object, ...]:
        return record.status, record.identity, record.settings, record.measurements, record.mistakes

    return {record.key: decided(record) for record in found}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], float]:
    """The results of a run from nothing to the end, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    seconds = finish(folder, folder / "cache")
    return results_of(folder), seconds


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_run_stopped_at_random_moments_ends_as_if_it_never_was(
    name: str, tmp_path: Path, uninterrupted: tuple[dict[str, object], float]
) -> None:
    """After each signal no file is damaged, and the run that follows completes the rest."""
    whole, seconds = uninterrupted
    moments = random.Random(name)
    codes = set()
    for attempt in range(MOMENTS):
        folder = tmp_path / str(attempt // 3)  # three signals to one run, then it is completed
        process = start(folder, folder / "cache")
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=120)
        codes.add(process.returncode)
        results_of(folder)
        if attempt % 3 == 2:
            finish(folder, folder / "cache")
            assert results_of(folder) == whole
            assert not list(folder.rglob("*.part"))
    number = getattr(signal, name)
    assert codes <= {0, -number, 128 + number}


def test_four_processes_share_results_and_cache(tmp_path: Path, uninterrupted: tuple[dict[str, object], float]) -> None:
    """They may do the same work twice, but nothing is damaged, and the results are those of one."""
    processes = [start(tmp_path, tmp_path / "cache") for _ in range(4)]
    for process in processes:
        _, printed = process.communicate(timeout=600)
        assert process.returncode == 0, printed.decode()
    assert results_of(tmp_path) == uninterrupted[0]
