"""A cache or results folder on a small disk that fills up: one line per loss, and a larger disk repairs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from tests.builders import QUICK_OPTIONS

pytestmark = pytest.mark.slow

WORDS = [
    *("--methods", "rotnet,random", "--protocol", "knn", "--set", "knn.k=20"),
    *("--quiet", "--no-references", *QUICK_OPTIONS),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty folder for a small file system, which is unmounted at the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", folder], check=False, capture_output=True)


def mount(folder: Path, kilobytes: int) -> None:
    """Mounts a file system of this size; skips the test without the rights to."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no program to mount with")
    if done.returncode:
        pytest.skip(f"no small file system could be mounted: {done.stderr.strip()}")


def run(results: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "run_bench.py", *WORDS, "--results", str(results)]
    environment = os.environ | {"SSLBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("kilobytes", [8, 64, 600, 2_000, 4_000, 6_000, 9_000])
def test_a_full_cache_is_one_line_per_loss(kilobytes: int, small_disk: Path, tmp_path: Path) -> None:
    """Whether images, encoder or features no longer fit: exit code 1 or 2, and then everything works with space."""
    mount(small_disk, kilobytes)
    done = run(tmp_path / "results", small_disk / "cache")
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.startswith(("error: ", "failed: ")) for line in done.stderr.splitlines()), done.stderr
    assert bool(done.returncode) == bool(done.stderr)
    assert run(tmp_path / "results", tmp_path / "cache").returncode == 0
    found, damaged = records.read_all(tmp_path / "results" / "records")
    assert ([record.status for record in found], damaged) == (["ok", "ok"], [])


@pytest.mark.parametrize("kilobytes", [8, 1_040, 1_100, 1_500])
def test_full_results_are_one_line(kilobytes: int, small_disk: Path, tmp_path: Path) -> None:
    """Records and tables that no longer fit end the run in one line; what was written stays whole."""
    mount(small_disk, kilobytes)
    done = run(small_disk / "results", tmp_path / "cache")
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (1 if done.returncode else 0)
    assert records.read_all(small_disk / "results" / "records")[1] == []
