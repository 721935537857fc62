"""Damaged records: each is read or skipped by name and reason. The campaign tries more of them, with whole reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.strategies import FEW, check_damaged_record, damaged_contents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder."""
    return tmp_path_factory.mktemp("damaged")


@FEW
@given(content=damaged_contents())
def test_a_damaged_record_stops_no_comparison(content: Any, folder: Path) -> None:
    """The other record is compared and described."""
    check_damaged_record(content, folder, report=False)
