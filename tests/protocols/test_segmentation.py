"""Segmentation and what is derived from masks and depth: worked examples, and loops that agree."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.bench.data import VOID
from sslbench.protocols.depth_probe import DepthProbe
from sslbench.protocols.edges import Edges, borders_of
from sslbench.protocols.normals import angles_between, normals_of
from sslbench.protocols.segmentation import Segmentation, overlap_of_one_class
from tests.protocols.builders import ideal_dense_representation


def test_unknown_pixels_play_no_part() -> None:
    """Where a third of each mask is unknown, perfect features still find everything else."""
    representation = ideal_dense_representation()
    for split in (representation.dataset.train, representation.dataset.test):
        assert split.masks is not None
        split.masks[:, :, :3] = VOID
    found = {number.metric: number for number in Segmentation(taps=("conv5",)).evaluate(representation)}
    assert found["mean_iou"].value == found["knn_mean_iou"].value == found["pixel_accuracy"].value == 1
    assert found["mean_iou"].details is not None
    assert set(found["mean_iou"].details["iou"]) == set("0123")


def test_chance_is_the_overlap_of_one_class() -> None:
    """Half of the pixels are class 1, and two classes occur: 0.5 of one and nothing of the other."""
    representation = ideal_dense_representation()
    masks = representation.dataset.test.masks
    assert masks is not None
    masks[:, :4], masks[:, 4:] = 0, 1
    assert overlap_of_one_class(representation) == 0.25
    masks[:, 2:4] = VOID
    assert overlap_of_one_class(representation) == pytest.approx(4 / 6 / 2)


def test_depth_errors_agree_with_a_loop() -> None:
    """A constant answer of 2 m where 2 and 4 m are true: the mean square is 2, and half is within a factor of 1.25."""
    representation = ideal_dense_representation(noise=1e6)
    for split in (representation.dataset.train, representation.dataset.test):
        assert split.depth is not None
        split.depth[:] = 2
    representation.dataset.train.depth[0, 0, 0] += 1e-4  # type: ignore[index]
    representation.dataset.test.depth[:, :4] = 4  # type: ignore[index]
    rmse, delta = DepthProbe(taps=("conv5",)).evaluate(representation)
    assert rmse.value == pytest.approx(math.sqrt(2), abs=0.01)
    assert delta.value == pytest.approx(0.5, abs=0.01)
    assert rmse.ci_low is not None
    assert rmse.ci_low == pytest.approx(rmse.value, abs=0.01)  # all pictures are alike


def test_borders_agree_with_a_loop() -> None:
    """A pixel is a border where its right or lower neighbour is known and another class."""
    masks = torch.randint(0, 3, (2, 5, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    masks[masks == 2] = VOID
    found = borders_of(masks)
    for n in range(2):
        for row in range(5):
            for column in range(4):
                here = int(masks[n, row, column])
                neighbours = [int(masks[n, r, c]) for r, c in ((row, column + 1), (row + 1, column)) if r < 5 and c < 4]
                assert found[n, row, column] == (
                    here != VOID and any(other not in (here, VOID) for other in neighbours)
                )


def test_normals_of_a_slope() -> None:
    """A plane that faces the camera has normal (0, 0, -1); one that recedes to the right faces left of it."""
    flat, slope = torch.full((1, 6, 6), 3.0), 3 + torch.arange(6).float().expand(1, 6, 6) / 2
    facing = torch.tensor([0.0, 0.0, -1.0])[None, :, None, None].expand(1, 3, 6, 6)
    torch.testing.assert_close(normals_of(flat), facing)
    angles = angles_between(normals_of(slope), facing)
    expected = math.degrees(math.atan(0.5 / (3 / 6)))  # half a metre per pixel, which is half a metre wide there
    assert float(angles[0, 0, 0]) == pytest.approx(expected, abs=1e-3)
    assert (normals_of(slope)[0, 0, :, :5] > 0).all()


def test_a_picture_without_a_border_does_not_count() -> None:
    """Of pictures of one class only, average precision is not defined; the others decide."""
    representation = ideal_dense_representation()
    masks = representation.dataset.test.masks
    assert masks is not None
    before = next(Edges(taps=("conv5",)).evaluate(representation)).value
    masks[::2] = 1
    after = next(Edges(taps=("conv5",)).evaluate(representation)).value
    assert before == pytest.approx(after, abs=0.05)
