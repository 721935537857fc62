"""Tests of encoders that see lightness alone, or lightness and chroma in two halves."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.encoders._input_mode import HalvesEncoder, encoder_for_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.colour import lab_to_rgb, rgb_to_lab


def test_two_halves_have_the_taps_and_widths_of_one_encoder() -> None:
    """The first half of each tap's channels depends on lightness alone, the second half does not."""
    torch.manual_seed(0)
    whole, halves = ConvNet(32, width=8), encoder_for_input_mode(ConvNet, "halves", 32, {"width": 8})
    assert isinstance(halves, HalvesEncoder)
    assert halves.widths == whole.widths
    assert halves.dim == whole.dim
    images = torch.rand(3, 3, 32, 32)
    grey_lab = rgb_to_lab(images)
    grey_lab[:, 1:] = 0
    halves.eval()
    for tap, maps in halves.features(images, halves.taps).items():
        assert maps.shape == whole.eval().features(images, [tap])[tap].shape
        grey = halves.features(lab_to_rgb(grey_lab), [tap])[tap]
        half = maps.shape[1] // 2
        torch.testing.assert_close(maps[:, :half], grey[:, :half], atol=1e-3, rtol=1e-3)
        assert not torch.allclose(maps[:, half:], grey[:, half:], atol=1e-3)


@pytest.mark.parametrize("input_mode", ["colour", "lightness", "halves"])
def test_shapes_are_known_without_data(input_mode: str) -> None:
    """On the meta device every input mode gives an embedding of the right shape."""
    with torch.device("meta"):
        encoder = encoder_for_input_mode(ConvNet, input_mode, 32, {"width": 8})
    assert encoder(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 64)


def test_an_odd_width_is_refused() -> None:
    """Two halves need an even width."""
    with pytest.raises(UserError, match="must be even"):
        encoder_for_input_mode(ConvNet, "halves", 32, {"width": 7})
