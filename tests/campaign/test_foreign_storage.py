"""Caches and results that belong to somebody else or that are mounted read-only: what works, and what is said."""

from __future__ import annotations

import os
import shutil
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
NOBODY = 65534
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # then root may not write everywhere


def run(results: Path, cache: Path, *, privileged: bool = False) -> subprocess.CompletedProcess[str]:
    """The command line in a process that has only the rights of its user."""
    command = [sys.executable, "run_bench.py", *WORDS, "--results", str(results)]
    environment = os.environ | {"SSLBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    prefix = [] if privileged else WITHOUT_PRIVILEGES
    return subprocess.run(
        [*prefix, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def give_away(folder: Path) -> None:
    """Makes another user the owner of a folder and of all in it; skips the test without the rights to."""
    if not shutil.which("setpriv") or os.geteuid():
        pytest.skip("only root can give folders away")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cache and the results of a run."""
    folder = tmp_path_factory.mktemp("measured")
    assert run(folder / "results", folder / "cache", privileged=True).returncode == 0
    return folder


@pytest.fixture
def copied(measured: Path, tmp_path: Path) -> Path:
    """A copy of these that a test may change."""
    return Path(shutil.copytree(measured, tmp_path / "copied"))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which can be made read-only; skips the test without the rights to mount."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing could be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=False, capture_output=True)


def make_read_only(folder: Path) -> None:
    """Mounts a file system again so that nothing can be written."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


def assert_measured(done: subprocess.CompletedProcess[str], results: Path, expected: Path) -> None:
    """The run ended well and without a word on the error stream, with the measurements of another."""
    assert (done.returncode, done.stderr) == (0, "")
    found, wanted = (records.read_all(folder / "records") for folder in (results, expected))
    assert found[1] == []
    assert {one.key: one.measurements for one in found[0]} == {one.key: one.measurements for one in wanted[0]}


def test_a_complete_cache_of_another_user_is_read(copied: Path, measured: Path, tmp_path: Path) -> None:
    """An administrator may fill one cache for everybody."""
    give_away(copied / "cache")
    done = run(tmp_path / "results", copied / "cache")
    assert_measured(done, tmp_path / "results", measured / "results")


def test_an_empty_cache_of_another_user_is_said_before_training(tmp_path: Path) -> None:
    """One line that names the cache; nothing is trained or written."""
    (tmp_path / "cache").mkdir()
    give_away(tmp_path / "cache")
    done = run(tmp_path / "results", tmp_path / "cache")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: The cache folder {tmp_path / 'cache'} cannot take")
    assert "Permission denied" in line
    assert not (tmp_path / "results").exists()


def test_results_of_another_user_are_said_before_training(copied: Path) -> None:
    """Without a place for results nothing is measured; the line names the folder."""
    shutil.rmtree(copied / "results" / "records")
    (copied / "results" / "records").mkdir()
    give_away(copied / "results")
    done = run(copied / "results", copied / "cache")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(copied / "results") in line
    assert "Permission denied" in line


def test_a_complete_cache_on_a_read_only_disk_is_read(mounted: Path, measured: Path, tmp_path: Path) -> None:
    """Such as one of a container's image."""
    shutil.copytree(measured / "cache", mounted / "cache")
    make_read_only(mounted)
    done = run(tmp_path / "results", mounted / "cache", privileged=True)
    assert_measured(done, tmp_path / "results", measured / "results")


@pytest.mark.parametrize("what", ["cache", "results"])
def test_an_empty_folder_on_a_read_only_disk_is_one_line(what: str, mounted: Path, tmp_path: Path) -> None:
    """For the cache and for results, before any training."""
    make_read_only(mounted)
    folders = {name: (mounted if name == what else tmp_path) / name for name in ("cache", "results")}
    done = run(folders["results"], folders["cache"], privileged=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(folders[what]) in line
    assert "Read-only file system" in line
    assert not list(tmp_path.rglob("*.safetensors"))
