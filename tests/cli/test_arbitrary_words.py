"""Random command lines: none fails with a traceback. The campaign tries more of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given

from tests.strategies import FEW, check_command_line, command_lines, write_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands run."""
    folder = tmp_path_factory.mktemp("words")
    write_files(folder)
    return folder


@FEW
@given(words=command_lines())
@example(words=["--methods", "rotnet,random", "--dataset", "folder", "--data-dir", "pictures"])
@example(words=["--methods", "random", "--pretrain-data-dir=--"])
@example(words=["--methods", "random", "--dry-run", "\r\n\x1b[31m"])
@example(words=["--methods", "random", "--plugin", "x" * 300])
@example(words=["new", "method", "\udcff"])
def test_random_words_end_well(words: list[str], folder: Path) -> None:
    """Exit code 0, 1 or 2, and one line for 2."""
    check_command_line(words, folder)
