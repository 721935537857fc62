"""Colours as classes: which bins there are, the nearest ones, the soft encoding, and decoding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslbench.bench.images.colour import rgb_to_lab
from sslbench.methods._gamut import Gamut, in_gamut_bins, soft_cross_entropy


@pytest.fixture(scope="module")
def gamut() -> Gamut:
    return Gamut()


@pytest.fixture(scope="module")
def colours() -> Tensor:
    """a*, b* of saturated and of dull sRGB colours (2, 2, 20, 20)."""
    generator = torch.Generator().manual_seed(0)
    vivid = torch.rand(1, 3, 20, 20, generator=generator).mul(1.6).sub(0.3).clamp(0, 1)
    return rgb_to_lab(torch.cat([vivid, 0.4 + 0.2 * torch.rand(1, 3, 20, 20, generator=generator)]))[:, 1:]


def test_the_bins_are_the_cells_that_srgb_reaches() -> None:
    """Bins are different multiples of ten; nearly all of them contain a sampled colour, and no colour is outside."""
    bins = in_gamut_bins()
    assert torch.equal(bins, (bins / 10).round() * 10)
    assert len(bins.unique(dim=0)) == len(bins)
    assert 250 < len(bins) < 313
    levels = torch.linspace(0, 1, 24)
    inside = rgb_to_lab(torch.cartesian_prod(levels, levels, levels).view(-1, 3, 1, 1))[:, 1:, 0, 0]
    cells = {(a, b) for a, b in (inside / 10).round().mul(10).tolist()}
    known = {(a, b) for a, b in bins.tolist()}
    assert cells <= known
    assert len(known - cells) < 0.05 * len(known)
    assert {(0.0, 0.0), (80.0, 70.0), (80.0, -110.0)} <= known  # grey, red, blue


def test_the_nearest_bins_are_those_of_a_full_search(gamut: Gamut, colours: Tensor) -> None:
    """A search through all bins finds the same five as the lookup of candidates."""
    bins, weights = gamut.soft_encoding(colours)
    nearest = gamut.nearest_bin(colours)
    for n, y, x in ((n, y, x) for n in range(2) for y in range(20) for x in range(20)):
        a, b = colours[n, :, y, x].tolist()
        squares = [(a - p) ** 2 + (b - q) ** 2 for p, q in gamut.bins.tolist()]
        order = sorted(range(len(gamut)), key=squares.__getitem__)[:5]
        assert set(bins[n, y, x].tolist()) == set(order)
        assert nearest[n, y, x].item() == bins[n, y, x, 0].item() == order[0]
        heights = {q: math.exp(-squares[q] / (2 * 5.0**2)) for q in order}
        expected = {q: height / sum(heights.values()) for q, height in heights.items()}
        assert dict(zip(bins[n, y, x].tolist(), weights[n, y, x].tolist(), strict=True)) == pytest.approx(
            expected, abs=1e-4
        )


def test_a_certain_prediction_is_decoded_to_its_bin(gamut: Gamut) -> None:
    """A distribution with all its weight on one bin has that bin's colour as its mean."""
    logits = 60 * torch.eye(len(gamut)).view(len(gamut), len(gamut), 1, 1)
    torch.testing.assert_close(gamut.decode(logits)[:, :, 0, 0], gamut.bins)


def test_decoding_is_between_mean_and_mode(gamut: Gamut) -> None:
    """The annealed mean is the mean of p^(1/T), so T = 1 gives the mean and a small T the mode."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, len(gamut), 2, 3)
    for temperature in (1.0, 0.38):
        decoded = gamut.decode(logits, temperature)
        for n, y, x in ((0, 0, 0), (1, 1, 2)):
            shares = [math.exp(z) ** (1 / temperature) for z in logits[n, :, y, x].tolist()]
            for c in range(2):
                mean = sum(share * bin[c] for share, bin in zip(shares, gamut.bins.tolist(), strict=True)) / sum(shares)
                assert decoded[n, c, y, x].item() == pytest.approx(mean, abs=1e-3)
    torch.testing.assert_close(gamut.decode(logits, 1e-3).movedim(1, -1), gamut.bins[logits.argmax(1)])


def test_a_colour_survives_encoding(gamut: Gamut, colours: Tensor) -> None:
    """The weighted mean of a colour's five bins is close to the colour."""
    bins, weights = gamut.soft_encoding(colours)
    back = (gamut.bins[bins] * weights.unsqueeze(-1)).sum(-2).movedim(-1, 1)
    assert (back - colours).norm(dim=1).mean() < 2.5
    assert (back - colours).norm(dim=1).max() < 8


def test_cross_entropy_matches_a_loop(gamut: Gamut, colours: Tensor) -> None:
    """The loss of a pixel is minus the sum over all bins of target times log-probability."""
    torch.manual_seed(0)
    logits = torch.randn(2, len(gamut), 20, 20)
    bins, weights = gamut.soft_encoding(colours)
    nats = soft_cross_entropy(logits, bins, weights)
    assert nats.shape == (2, 20, 20)
    for n, y, x in ((0, 3, 4), (1, 0, 19)):
        total = math.log(sum(math.exp(z) for z in logits[n, :, y, x].tolist()))
        target = dict(zip(bins[n, y, x].tolist(), weights[n, y, x].tolist(), strict=True))
        expected = -sum(target.get(q, 0.0) * (z - total) for q, z in enumerate(logits[n, :, y, x].tolist()))
        assert nats[n, y, x].item() == pytest.approx(expected, rel=1e-4)
