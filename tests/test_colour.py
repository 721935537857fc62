"""Colour spaces: known colours, the way back, and what an encoder sees of a picture."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.encoders import seen
from sslbench.bench.encoders._halves import Halves, with_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.colour import lab, rgb


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
    """White, black, red, blue and grey have the L*, a*, b* of the standard's tables."""
    pixel = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(lab(pixel).flatten(), torch.tensor(expected).float(), atol=0.05, rtol=0)


def test_there_and_back() -> None:
    """Every colour that sRGB can show survives the way to Lab and back."""
    images = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(rgb(lab(images)), images, atol=1e-4, rtol=0)
    assert rgb(torch.tensor([50.0, 120, 120]).view(1, 3, 1, 1)).max() <= 1  # out of gamut


def test_lightness_and_chroma_share_nothing() -> None:
    """An encoder of lightness gives a picture and its grey twin the same features; one of chroma gives greys one."""
    images = torch.rand(2, 3, 8, 8)
    twin = lab(images)
    twin[:, 1:] = 0
    grey = rgb(twin)
    torch.testing.assert_close(seen(grey, "lightness"), seen(images, "lightness"), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen(grey, "chroma"), torch.full((2, 3, 8, 8), 0.5), atol=1e-4, rtol=0)
    for part in ("lightness", "chroma"):
        assert 0 <= seen(images, part).min() <= seen(images, part).max() <= 1


def test_halves_make_a_whole() -> None:
    """Two halves have the taps and widths of the whole; each tap's first channels see lightness alone."""
    torch.manual_seed(0)
    whole, halves = ConvNet(32, width=8), with_input_mode(ConvNet, "halves", 32, {"width": 8})
    assert isinstance(halves, Halves)
    assert halves.widths == whole.widths
    assert halves.dim == whole.dim
    images = torch.rand(3, 3, 32, 32)
    twin = lab(images)
    twin[:, 1:] = 0
    halves.eval()
    for tap, maps in halves.features(images, halves.taps).items():
        assert maps.shape == whole.eval().features(images, [tap])[tap].shape
        grey = halves.features(rgb(twin), [tap])[tap]
        half = maps.shape[1] // 2
        torch.testing.assert_close(maps[:, :half], grey[:, :half], atol=1e-3, rtol=1e-3)
        assert not torch.allclose(maps[:, half:], grey[:, half:], atol=1e-3)


@pytest.mark.parametrize("input_mode", ["colour", "lightness", "halves"])
def test_shapes_are_known_without_data(input_mode: str) -> None:
    """On no device, as an encoder is tried before any work, every kind of seeing gives its embedding."""
    with torch.device("meta"):
        encoder = with_input_mode(ConvNet, input_mode, 32, {"width": 8})
    assert encoder(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 64)


def test_an_odd_width_is_not_halved() -> None:
    """It is refused in one sentence."""
    with pytest.raises(UserError, match="even one"):
        with_input_mode(ConvNet, "halves", 32, {"width": 7})
