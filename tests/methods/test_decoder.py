"""Parts of methods that reconstruct images: sizes of decoders, the channel-wise layer, and decibels."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.methods._decoder import ChannelwiseLinear, Decoder, deepest_map_side, psnr


@pytest.mark.parametrize(
    ("side", "size"), [(4, 32), (4, 16), (8, 64), (7, 56), (8, 8), (3, 32), (13, 227), (6, 113), (8, 4)]
)
def test_a_decoder_has_any_output_size(side: int, size: int) -> None:
    """It doubles the side as often as possible and interpolates the rest."""
    decoder = Decoder(24, side=side, size=size)
    assert decoder(torch.randn(2, 24, side, side)).shape == (2, 3, size, size)
    doublings = sum(isinstance(layer, nn.ConvTranspose2d) for layer in decoder)
    assert side * 2**doublings <= max(side, size) < side * 2 ** (doublings + 1)
    assert any(isinstance(layer, nn.Upsample) for layer in decoder) == (side * 2**doublings != size)


def test_pixels_depend_on_nearby_maps() -> None:
    """A change at one place of the maps changes the image at that place, and not far away from it."""
    torch.manual_seed(0)
    decoder = Decoder(24, side=4, size=32).eval()
    maps = torch.zeros(1, 24, 4, 4)
    changed = maps.clone()
    changed[..., 1, 2] = 1
    changed_pixels = (decoder(changed) - decoder(maps)).abs().sum(1)[0] > 0
    assert changed_pixels[8:16, 16:24].all()
    assert not changed_pixels[:, :4].any()


def test_the_channel_wise_layer_matches_a_loop() -> None:
    """Each place of a map is a weighted sum over all places of the same map."""
    torch.manual_seed(0)
    N, C, side = 2, 3, 2
    layer = ChannelwiseLinear(C, side)
    nn.init.normal_(layer.bias)
    maps = torch.randn(N, C, side, side)
    found = layer(maps)
    places = list(itertools.product(range(side), range(side)))
    for n, c, (to, place) in itertools.product(range(N), range(C), enumerate(places)):
        total = layer.bias.view(C, side, side)[c][place].item()
        for start, other in enumerate(places):
            total += layer.weight[c, start, to].item() * maps[n, c][other].item()
        assert found[n, c][place].item() == pytest.approx(max(0.0, total), abs=1e-5)


def test_the_side_is_found_without_changing_the_encoder() -> None:
    """It returns the side of the deepest maps; batch statistics, mode and random numbers do not change."""
    encoder, larger = ConvNet(32, width=4).train(), ConvNet(96, width=4).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    state = torch.get_rng_state()
    assert (deepest_map_side(encoder, 32), deepest_map_side(larger, 96)) == (4, 12)
    assert encoder.training
    assert not larger.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.last_features(torch.zeros(1, 3, 32, 32)).shape == (1, 32, 4, 4)


def test_decibels() -> None:
    """An error of a tenth of the range is 20 dB; no error gives a finite number."""
    torch.testing.assert_close(psnr(torch.tensor([0.01, 1.0])), torch.tensor([20.0, 0.0]))
    assert psnr(torch.tensor(0.0)).isfinite()
