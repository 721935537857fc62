"""Tests of colour conversions: known colours, and back again."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.images.colour import lab_to_rgb, rgb_to_lab


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0, 0)),
    ],
)
def test_known_colours(colour: tuple[int, ...], expected: tuple[float, ...]) -> None:
    """White, black, red, blue and grey have the L*, a*, b* in the standard's tables."""
    pixel = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(rgb_to_lab(pixel).flatten(), torch.tensor(expected).float(), atol=0.05, rtol=0)


def test_colours_survive_the_conversion_and_back() -> None:
    """Colours of sRGB survive the conversion to L*a*b* and back; others are clipped."""
    images = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(images)), images, atol=1e-4, rtol=0)
    assert lab_to_rgb(torch.tensor([50.0, 120, 120]).view(1, 3, 1, 1)).max() <= 1  # out of gamut
