"""Fixtures for tests of data sets: an empty cache and a small folder of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import save_grey_picture


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder per test."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of two classes with three pictures per class and split; each picture has a grey of its own."""
    root = tmp_path / "pets"
    for i, (split, name) in enumerate((s, n) for s in ("train", "test") for n in ("cat", "dog")):
        for k in range(3):
            save_grey_picture(root / split / name / f"{k}.png", 60 * i + k)
    return root
