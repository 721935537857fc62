"""Correspondence: worked examples of warps and searches, and what features without places score."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslbench.protocols.correspondence import (
    DISTANCE,
    FOUND_BY_CHANCE,
    Correspondence,
    find_points,
    move_points,
    random_warps,
    warp_images,
)
from tests.protocols.builders import ideal_places_representation


def test_warps_move_points_and_pictures_alike() -> None:
    """Each pixel of a changed picture shows what the original shows at the place where `move_points` puts it."""
    generator = torch.Generator().manual_seed(0)
    warps = random_warps(2, 30, 0.25, 0.15, generator)
    centres = (torch.arange(8) + 0.5) / 4 - 1
    ramp = torch.stack([centres.expand(8, 8), centres[:, None].expand(8, 8)])[None].repeat(2, 1, 1, 1)
    points = torch.cartesian_prod(centres, centres).flip(1).expand(2, -1, -1)
    changed, moved = warp_images(ramp, warps), move_points(warps, points)
    for picture in range(2):
        for number, (row, column) in enumerate((row, column) for row in range(8) for column in range(8)):
            place = moved[picture, number]
            if place.abs().max() < 1 - 1 / 8:  # between pixels, where the ramp is linear
                torch.testing.assert_close(changed[picture, :, row, column], place, atol=1e-5, rtol=0)


def test_warps_are_within_their_limits() -> None:
    """Each amount reaches its limit and never exceeds it; 0 leaves everything in place."""
    generator = torch.Generator().manual_seed(0)
    warps = random_warps(2000, 30, 0.25, 0.15, generator)
    scale = warps[:, :, 0].norm(dim=1)
    turn = torch.atan2(warps[:, 1, 0], warps[:, 0, 0]).rad2deg()
    for values, low, high in ((scale, 0.8, 1.25), (turn, -30, 30), (warps[:, :, 2] / 2, -0.15, 0.15)):
        slack = 0.01 * (high - low)
        assert low - 1e-4 <= values.min() < low + slack
        assert high - slack < values.max() <= high + 1e-4
    still = random_warps(2, 0, 0, 0, generator)
    assert torch.equal(still, torch.eye(2, 3).expand(2, 2, 3))


def test_searches_agree_with_a_loop() -> None:
    """For each point, the place of the 32 x 32 with the largest cosine, features read between positions bilinearly."""
    generator = torch.Generator().manual_seed(0)
    changed, originals = torch.randn(2, 2, 3, 4, 4, generator=generator)
    points = torch.rand(2, 2, 2, generator=generator) * 1.5 - 0.75
    answers = find_points(changed, originals, points)

    def read(maps: torch.Tensor, x: float, y: float) -> torch.Tensor:
        """Features at a place from -1 to 1: the four positions around it by their shares."""
        column, row = (min(max((place + 1) * 2 - 0.5, 0), 3) for place in (x, y))
        left, top = min(int(column), 2), min(int(row), 2)
        a, b = column - left, row - top
        upper = (1 - a) * maps[:, top, left] + a * maps[:, top, left + 1]
        lower = (1 - a) * maps[:, top + 1, left] + a * maps[:, top + 1, left + 1]
        return (1 - b) * upper + b * lower

    centres = [(place + 0.5) / 16 - 1 for place in range(32)]
    for picture in range(2):
        for number in range(2):
            x, y = points[picture, number].tolist()
            query = read(changed[picture], x, y)
            cosines = {
                (x, y): float(F.cosine_similarity(query, read(originals[picture], x, y), dim=0))
                for x in centres
                for y in centres
            }
            best = max(cosines, key=cosines.__getitem__)
            assert answers[picture, number].tolist() == pytest.approx(best)


def test_chance_agrees_with_a_simulation_and_with_features_that_know_nothing() -> None:
    """Random places are as often near each other as declared, and so are answers of pure noise."""
    places = torch.rand(2, 300_000, 2, generator=torch.Generator().manual_seed(0))
    near = float(((places[0] - places[1]).norm(dim=1) <= DISTANCE).float().mean())
    assert near == pytest.approx(FOUND_BY_CHANCE, abs=4 * math.sqrt(FOUND_BY_CHANCE / 300_000))
    generator = torch.Generator().manual_seed(0)
    changed, originals = torch.randn(2, 20, 8, 16, 16, generator=generator)
    points, places = torch.rand(2, 20, 64, 2, generator=generator) * 2 - 1
    answers = find_points(changed, originals, points)
    assert float(((answers - places).norm(dim=2) <= 2 * DISTANCE).float().mean()) == pytest.approx(0.0288, abs=0.013)


def test_points_outside_the_original_do_not_count() -> None:
    """Places that only some points have in the original: the others are left out, and the found ones are still all."""
    protocol = Correspondence(taps=("conv5",), shift=0.5, points=32)
    (found,) = protocol.evaluate(ideal_places_representation())
    assert found.value == 1
    assert found.details is not None
    assert 0.4 * 16 * 32 < found.details["points"] < 0.8 * 16 * 32


def test_the_share_of_points_found_of_two_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a tenth of the side is found, a place outside does not count, and each picture weighs the same."""
    places = torch.tensor([[[0, 0], [0.5, 0.5], [1.5, 0]], [[0, 0], [0.2, 0.2], [-0.5, 0]]])
    offsets = torch.tensor([[[0.19, 0], [0, 0.21], [0, 0]], [[0, 0], [0.1, -0.1], [0.3, 0]]])  # of a side of 2
    monkeypatch.setattr(Correspondence, "search", lambda *_: (places, places + offsets, places))
    (found,) = Correspondence(taps=("conv5",)).evaluate(ideal_places_representation())
    assert found.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.details == {"points": 5}
