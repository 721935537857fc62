"""Region similarity and contour accuracy: loops that agree, and values that can be counted by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.bench.evaluation.probes import contour_accuracy, region_similarity


def contour_by_loop(mask: torch.Tensor) -> set[tuple[int, int]]:
    """As `seg2bmap` of the DAVIS benchmark: pixels that differ from the right, lower or lower right one."""
    rows, columns = mask.shape
    found = set()
    for row in range(rows):
        for column in range(columns):
            below, right = min(row + 1, rows - 1), min(column + 1, columns - 1)
            others = (mask[below, column], mask[row, right], mask[below, right])
            if any(bool(other) != bool(mask[row, column]) for other in others):
                found.add((row, column))
    return found


def accuracy_by_loop(found: torch.Tensor, truth: torch.Tensor) -> float:
    """F of two masks (H, W), where contours match within 0.8 % of the diagonal, rounded up to whole pixels."""
    ours, theirs = contour_by_loop(found), contour_by_loop(truth)
    if not ours and not theirs:
        return 1.0
    radius = math.ceil(0.008 * math.hypot(*truth.shape))

    def share_near(some: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        near = [any(math.dist(place, other) <= radius for other in others) for place in some]
        return sum(near) / len(near) if near else 0.0

    precision, recall = share_near(ours, theirs), share_near(theirs, ours)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("shape", [(9, 12), (20, 130)])
def test_contours_agree_with_a_loop(shape: tuple[int, int]) -> None:
    """Blocks that are moved by 0 to 3 pixels, the last beyond the border, with a tolerance of one and of two pixels.

    Then one empty mask, and two.
    """
    found, truth = torch.zeros(2, 6, *shape, dtype=torch.bool)
    for index, moved in enumerate((0, 1, 2, 3)):
        truth[index, 4:8, 5:12], found[index, 4 + moved : 8 + moved, 5 : 12 - moved] = True, True
    truth[4, 4:8, 5:12] = True
    expected = [accuracy_by_loop(*pair) for pair in zip(found, truth, strict=True)]
    assert contour_accuracy(found, truth).tolist() == pytest.approx(expected)
    assert len({round(value, 3) for value in expected}) >= 4
    assert expected[0] == 1
    assert expected[4:] == [0, 1]


def test_overlaps_that_can_be_counted() -> None:
    """Two of six pixels; all; none; and two empty masks, which agree."""
    found, truth = torch.zeros(2, 4, 4, 4, dtype=torch.bool)
    found[0, 0], truth[0, 0, 2:], truth[0, 1, :2] = True, True, True
    found[1, 1:3], truth[1, 1:3] = True, True
    found[2, 0], truth[2, 3] = True, True
    assert region_similarity(found, truth).tolist() == pytest.approx([2 / 6, 1, 0, 1])
