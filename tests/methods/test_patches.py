"""Image patches: how they are cut, which are neighbours, and which colours are removed."""

from __future__ import annotations

import itertools

import pytest
import torch

from sslbench.methods._patches import cut_squares, neighbour_pairs, remove_colour


def test_squares_are_cut_at_their_corners() -> None:
    """Square p of image n begins at row top[n, p] and column left[n, p], in every channel."""
    number, row, column = torch.meshgrid(torch.arange(3), torch.arange(9), torch.arange(9), indexing="ij")
    images = torch.stack([number, row, column], dim=1)  # a pixel's value is its position
    top, left = torch.randint(6, (2, 3, 4))
    cut = cut_squares(images, top, left, 4)
    assert cut.shape == (3, 4, 3, 4, 4)
    for n, p, y, x in itertools.product(range(3), range(4), range(4), range(4)):
        assert cut[n, p, :, y, x].tolist() == [n, top[n, p] + y, left[n, p] + x]


@pytest.mark.parametrize(("grid", "window", "pairs"), [(2, 1, 12), (3, 1, 40), (3, 2, 72), (4, 1, 84)])
def test_neighbours_are_close(grid: int, window: int, pairs: int) -> None:
    """Places at most ``window`` rows and columns apart are neighbours, in both orders; none is its own neighbour."""
    found = neighbour_pairs(grid, window)
    places = list(itertools.product(range(grid), range(grid)))
    assert len(found) == len(set(found)) == pairs
    for (a, place), (b, other) in itertools.product(enumerate(places), repeat=2):
        near = place != other and all(abs(x - y) <= window for x, y in zip(place, other, strict=True))
        assert ((a, b) in found) is near


def test_dropping_keeps_one_channel() -> None:
    """A patch keeps one random channel; the others are noise around grey, with 1/100 of its standard deviation."""
    torch.manual_seed(0)
    patches = torch.rand(6, 9, 3, 16, 16) * torch.rand(6, 9, 1, 1, 1)
    views = remove_colour(patches, "drop")
    kept = (views == patches).flatten(3).all(3)  # (6, 9, 3)
    assert (kept.sum(2) == 1).all()
    assert kept.flatten(0, 1).any(0).all()
    assert any(len(row.unique(dim=0)) > 1 for row in kept)
    for n, p, c in itertools.product(range(6), range(9), range(3)):
        if not kept[n, p, c]:
            std = patches[n, p, kept[n, p]].std()
            assert views[n, p, c].std().item() == pytest.approx(0.01 * std.item(), rel=0.3)
            assert views[n, p, c].mean().item() == pytest.approx(0.5, abs=0.002)


def test_projection_removes_green_against_magenta() -> None:
    """x - x a'a / (a a') with a = [-1, 2, -1]: nothing is left along a, and grey is unchanged."""
    patches = torch.rand(2, 9, 3, 4, 4)
    views = remove_colour(patches, "projection")
    a = [-1.0, 2.0, -1.0]
    for n, p, y, x in itertools.product(range(2), range(9), range(4), range(4)):
        pixel = patches[n, p, :, y, x].tolist()
        along = sum(v * w for v, w in zip(pixel, a, strict=True)) / 6
        expected = [v - along * w for v, w in zip(pixel, a, strict=True)]
        assert views[n, p, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)
    grey = torch.rand(2, 9, 1, 4, 4).expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(remove_colour(grey, "projection"), grey)
    assert remove_colour(patches, "keep") is patches
