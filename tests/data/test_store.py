"""Tests of the picture cache: complete entries or none, and processes that share the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.data._store import replace_folder
from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError


def test_an_interrupted_entry_leaves_no_files(tmp_path: Path) -> None:
    """Neither the entry nor its temporary folder remains."""
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / "box" / "entry") as folder:
        (folder / "part").write_text("x")
        raise KeyboardInterrupt
    assert list((tmp_path / "box").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the folder and the environment variable."""
    (tmp_path / "blocked").write_text("a file where the folder should be")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "blocked"))
    with pytest.raises(UserError, match=r"SSLBENCH_CACHE=.*blocked.*not a folder"):
        Folder(data_dir=str(pets)).load(frozenset())


def output_of_two_processes(code: str, output: Path) -> str:
    """Runs the same code in two processes at once; returns what they write to the file given as argument."""
    command = [sys.executable, "-c", code, str(output)]
    running = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    return output.read_text()


def test_two_processes_prepare_an_entry_once(tmp_path: Path, cache: Path) -> None:
    """The second one waits for the first and reads its entry."""
    code = """
import sys, time
import numpy as np
from sslbench.bench.data._store import load_or_decode
def chunks():
    with open(sys.argv[1], "a") as file:
        file.write("decoded ")
    time.sleep(0.3)
    yield np.full((2, 3, 8, 8), 7, np.uint8), np.array([0, 1]), []
found = load_or_decode("entry", 8, 2, chunks)
assert (found.images == 7).all() and found.labels.tolist() == [0, 1]
"""
    assert output_of_two_processes(code, tmp_path / "output") == "decoded "


def test_two_processes_search_for_broken_pictures_once(tmp_path: Path, cache: Path) -> None:
    """The second one waits for the first and reads its result."""
    code = """
import sys, time
from sslbench.bench.data._store import load_or_find_broken
def find():
    with open(sys.argv[1], "a") as file:
        file.write("searched ")
    time.sleep(0.3)
    return [(3, "empty file")]
assert load_or_find_broken("entry", find) == [(3, "empty file")]
"""
    assert output_of_two_processes(code, tmp_path / "output") == "searched "
