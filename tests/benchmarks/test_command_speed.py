"""How long a user waits: for the README's first command, and for the embedded pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.plugins.discovery import ROOT

pytestmark = pytest.mark.slow

COMMAND = ["run_bench.py", "--methods", "rotnet,jigsaw,moco", "--protocol", "linear"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing is cached or measured there yet."""
    return tmp_path_factory.mktemp("command")


@pytest.mark.benchmark(group="the README's first command")
class TestFirstCommand:
    """Each as a process of its own, one after the other in the same folders."""

    def test_from_an_empty_cache(self, benchmark, folder):
        """Pictures are rendered, features taken, probes fitted; encoders are bundled."""
        once(benchmark, folder)

    def test_with_other_strengths(self, benchmark, folder):
        """Probes are fitted anew."""
        once(benchmark, folder, "--set", "linear.strengths=0.001,0.01,0.1")

    def test_with_other_features(self, benchmark, folder):
        """Features are taken and probes fitted anew."""
        once(benchmark, folder, "--set", "linear.features=1024")

    def test_with_nothing_missing(self, benchmark, folder):
        """The table is printed."""
        once(benchmark, folder)


def once(benchmark, folder, *more):
    """One run of the command."""
    places = {"SSLBENCH_CACHE": str(folder / "cache")}
    words = [sys.executable, *COMMAND, "--results", str(folder / "results"), *more]
    run = {"cwd": ROOT, "check": True, "capture_output": True, "env": os.environ | places}
    benchmark.pedantic(lambda: subprocess.run(words, **run), rounds=1)


@pytest.mark.benchmark(group="10,000 + 2,000 embedded pictures of 32 pixels")
def test_rendering(benchmark, tmp_path, monkeypatch):
    """Rendered and written to an empty cache."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    benchmark.pedantic(lambda: Synthetic().load(frozenset()), rounds=1)
