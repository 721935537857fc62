"""Waiting times: the README's first command, and rendering the embedded images."""

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
    """A folder without cache and results."""
    return tmp_path_factory.mktemp("command")


@pytest.mark.benchmark(group="the README's first command")
class TestFirstCommand:
    """Each run is its own process; they run one after the other with the same folders."""

    def test_from_an_empty_cache(self, benchmark, folder):
        """Images are rendered, features extracted and probes fitted; encoders are bundled."""
        run_command(benchmark, folder)

    def test_with_other_strengths(self, benchmark, folder):
        """Probes are fitted again."""
        run_command(benchmark, folder, "--set", "linear.strengths=0.001,0.01,0.1")

    def test_with_other_features(self, benchmark, folder):
        """Features are extracted and probes fitted again."""
        run_command(benchmark, folder, "--set", "linear.features=1024")

    def test_with_nothing_missing(self, benchmark, folder):
        """The table is printed."""
        run_command(benchmark, folder)


def run_command(benchmark, folder, *more):
    """Measures one run of the command."""
    environment = {"SSLBENCH_CACHE": str(folder / "cache")}
    words = [sys.executable, *COMMAND, "--results", str(folder / "results"), *more]
    run = {"cwd": ROOT, "check": True, "capture_output": True, "env": os.environ | environment}
    benchmark.pedantic(lambda: subprocess.run(words, **run), rounds=1)


@pytest.mark.benchmark(group="10,000 + 2,000 embedded pictures of 32 pixels")
def test_rendering(benchmark, tmp_path, monkeypatch):
    """Rendered and written to an empty cache."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    benchmark.pedantic(lambda: Synthetic().load(frozenset()), rounds=1)
