"""Pictures of image patches: outlines, and the probabilities of places."""

from __future__ import annotations

import itertools

import pytest
import torch

from sslbench.methods._patch_pictures import GREEN, YELLOW, draw_place_probabilities, magnify, outline_squares


def test_an_outline_is_inside_its_square() -> None:
    """It is three pixels wide, along the square's edge; nothing else changes."""
    images = magnify(torch.zeros(2, 3, 5, 5), 4)
    drawn = outline_squares(images, torch.tensor([2, 5]), torch.tensor([3, 0]), 10, YELLOW)
    for image, (top, left) in zip(drawn, ((2, 3), (5, 0)), strict=True):
        for y, x in itertools.product(range(20), range(20)):
            margin = min(y - top, x - left, top + 9 - y, left + 9 - x)
            expected = YELLOW if 0 <= margin < 3 else (0.0, 0.0, 0.0)
            assert image[:, y, x].tolist() == pytest.approx(expected)


def test_probabilities_are_grey_cells_around_the_centre() -> None:
    """Each cell's grey is the probability of its place; the centre has a yellow outline, the true place a green one."""
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.0]])
    picture = draw_place_probabilities(probabilities, torch.tensor([5]))
    cells = picture[0, 0, 32::64, 32::64].flatten().tolist()
    assert cells == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.0, 0.5, 0.6, 0.7, 0.0])
    for place, colour in ((4, YELLOW), (5, GREEN)):
        assert picture[0, :, place // 3 * 64, place % 3 * 64].tolist() == pytest.approx(colour)
