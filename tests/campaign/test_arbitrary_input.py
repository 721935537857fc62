"""Random command lines, damaged records, and mistakes of users in processes of their own: no traceback anywhere."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from sslbench.bench.plugins.discovery import ROOT
from tests.cli.test_options import MISTAKES, here  # noqa: F401  a fixture
from tests.strategies import (
    MANY,
    check_command_line,
    check_damaged_record,
    command_lines,
    damaged_contents,
    write_files,
)

pytestmark = pytest.mark.slow

STARTED = random.Random(16).sample(sorted(MISTAKES), 12)  # each costs a start of the program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands run."""
    folder = tmp_path_factory.mktemp("words")
    write_files(folder)
    return folder


@MANY
@given(words=command_lines())
def test_random_words_end_well(words: list[str], folder: Path) -> None:
    """Exit code 0, 1 or 2, and one line for 2."""
    check_command_line(words, folder)


@MANY
@given(content=damaged_contents())
def test_a_damaged_record_stops_no_comparison(content: Any, folder: Path) -> None:
    """The other record is compared and described."""
    check_damaged_record(content, folder, report=False)


@settings(MANY, max_examples=60)
@given(content=damaged_contents())
def test_a_damaged_record_stops_no_report(content: Any, folder: Path) -> None:
    """Tables, figures and the web page are made of what can be read."""
    check_damaged_record(content, folder, report=True)


@pytest.mark.parametrize("name", STARTED)
def test_a_mistake_is_one_line_of_the_program(name: str, here: Path, tmp_path: Path) -> None:  # noqa: F811
    """What the fast tests check in one process holds for the program as users start it; warnings may come before."""
    words, parts = MISTAKES[name]
    words = [word.replace("{here}", str(here)) for word in words]
    results = ["--results", str(tmp_path / "results")] if words != ["lst"] else []
    done = subprocess.run(
        [sys.executable, "run_bench.py", *words, *results],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (2, "")
    *before, line = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in parts)
    assert not any(part.startswith((" ", "Traceback", "error: ")) for part in before), "as Python prints its own"
    assert not list(tmp_path.rglob("*.json")), "nothing is measured"
