"""The grid of images: its size, its margins and the lines of its texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslbench.bench.method import Panel
from sslbench.bench.visualise.grid import GAP, IMAGE_SIDE, MARGIN, WrappedText, save_grid


def test_a_grid_is_as_large_as_its_panels(tmp_path: Path) -> None:
    """Small images are enlarged without smoothing, wide panels get wide columns, and row labels get extra space."""
    squares = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    squares[:, 0, 0, 0] = 255
    wide = torch.rand(2, 3, 8, 24)
    panels = [Panel(title="a", images=squares), Panel(title="b", images=wide, captions=("$x", "word " * 40))]
    save_grid(panels, "What it is.", tmp_path / "deep" / "grid.png", footer="origin of the images")
    picture = np.asarray(Image.open(tmp_path / "deep" / "grid.png").convert("RGB")).astype(int)
    assert picture.shape[1] == 2 * MARGIN + 4 * IMAGE_SIDE + GAP
    red = (picture == [255, 0, 0]).all(2)
    assert red.sum() == pytest.approx(2 * (IMAGE_SIDE / 2) ** 2, rel=0.05)
    assert np.nonzero(red)[1].min() == pytest.approx(MARGIN, abs=3)
    assert (picture[:10] == 255).all()
    assert (picture[:, :20] == 255).all()
    assert (picture[:, -20:] == 255).all()
    save_grid(panels, "What it is.", tmp_path / "labelled.png", row_labels=("1: a", "2: an image"))
    assert Image.open(tmp_path / "labelled.png").width > picture.shape[1] + 50


def test_text_is_wrapped_to_its_column() -> None:
    """No line is wider than allowed, except a single long word or words joined by no-break spaces."""
    text = WrappedText("a line of several words, some of them longer\nand one more", 8.5, 150)
    assert len(text.lines) > 2
    assert " ".join(text.lines) == "a line of several words, some of them longer and one more"
    assert "and one more" in text.lines
    assert 75 < text.width <= 150
    assert text.height == len(text.lines) * text.leading
    assert WrappedText("held\N{NO-BREAK SPACE}together or not", 8.5, 60).lines == [
        "held\N{NO-BREAK SPACE}together",
        "or not",
    ]
    assert WrappedText("", 8.5, 100).lines == []
