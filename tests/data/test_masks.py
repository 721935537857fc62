"""Tests of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslbench.bench.data._masks import read_mask
from sslbench.bench.errors import UserError

GREYS = np.array([[0, 255], [255, 0]], np.uint8).repeat(4, 0).repeat(4, 1)


MASKS: dict[str, tuple[Image.Image, list[int]]] = {
    "white on black": (Image.fromarray(GREYS), [0, 1]),
    "one bit": (Image.fromarray(GREYS).convert("1"), [0, 1]),
    "white on black in RGB": (Image.fromarray(GREYS).convert("RGB"), [0, 1]),
    "blurred edges": (Image.fromarray(np.where(GREYS == 0, 40, 255).astype(np.uint8)), [0, 1]),
    "numbers in grey": (Image.fromarray(GREYS // 85), [0, 3]),
    "numbers in 16 bits": (Image.fromarray((GREYS // 85).astype(np.uint16)), [0, 3]),
    "palette with void": (Image.fromarray(np.where(GREYS == 0, 255, 2).astype(np.uint8), mode="P"), [0, 2]),
}


@pytest.mark.parametrize(("mask", "numbers"), MASKS.values(), ids=MASKS.keys())
def test_every_kind_of_mask_gives_object_numbers(tmp_path: Path, mask: Image.Image, numbers: list[int]) -> None:
    """Palette indices, greys, or black and white."""
    if mask.mode == "P":
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9, 9, 9] * 253)
    mask.save(tmp_path / "mask.png")
    found = read_mask(tmp_path / "mask.png", 8)
    assert np.unique(found).tolist() == numbers
    assert np.array_equal(found != 0, (np.asarray(mask.convert("L")) > 127) if mask.mode != "P" else GREYS != 0) or (
        mask.mode in ("L", "I;16") and np.array_equal(found, np.asarray(mask))
    )


def test_a_mask_in_colours_is_refused(tmp_path: Path) -> None:
    """The object number of a colour would be a guess."""
    Image.new("RGB", (8, 8), (128, 0, 0)).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=r"mask\.png: this mask cannot be read \(colours .* palette or in grey\)"):
        read_mask(tmp_path / "mask.png", 8)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (np.full((8, 8), 300, np.uint16), "object numbers below 0 or above 255"),
        (np.full((8, 8), 0.5, np.float32), "floats instead of the numbers of objects"),
    ],
)
def test_a_mask_of_other_numbers_is_refused(tmp_path: Path, numbers: np.ndarray[Any, Any], reason: str) -> None:
    """They would be cut to the numbers of other objects."""
    Image.fromarray(numbers).save(tmp_path / "mask.tif")
    with pytest.raises(UserError, match=rf"mask\.tif: this mask cannot be read \({reason}"):
        read_mask(tmp_path / "mask.tif", 8)
