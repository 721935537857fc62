"""Depth: the geometry of HHA, targets that move with their image, and the loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import random_resized_crops, to_float
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._quarter import average_to_quarter
from sslbench.methods.depth import Depth, hha_maps

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: object) -> Depth:
    torch.manual_seed(0)
    return Depth(ConvNet(32, width=4), TRAIN_INFO, **settings)  # type: ignore[arg-type]


def make_batch(data: Dataset, n: int) -> Batch:
    depth = data.train.depth
    assert depth is not None
    return Batch(images=data.train.images[:n], indices=torch.arange(n), depth=depth[:n])


def pixel_coordinates(S: int) -> Tensor:
    """The coordinate of each row or column, from -1 to 1, at pixel centres."""
    return (torch.arange(S) + 0.5) * 2 / S - 1


def test_a_wall_before_the_camera() -> None:
    """At constant depth, disparity is 1 / metres, height rises evenly from the lowest row, the angle is 90 degrees."""
    S, metres, slope, far = 8, 4.0, 0.5, 10.0
    disparity, height, angle = hha_maps(torch.full((2, S, S), metres), slope, far)[1]
    torch.testing.assert_close(disparity, torch.full((S, S), 1 / metres))
    torch.testing.assert_close(angle, torch.full((S, S), 0.5))
    rise = metres * slope * 2 / S  # metres a row
    expected = torch.arange(S - 1, -1, -1) * rise / (2 * slope * far)
    torch.testing.assert_close(height, expected.unsqueeze(1).expand(S, S))


@pytest.mark.parametrize("degrees", [0, 30, 60])
def test_a_slope_has_its_own_angle(degrees: float) -> None:
    """Ground that rises by some degrees has that angle with gravity; a floor has none."""
    S, below, slope = 16, 1.5, 1.0
    v = pixel_coordinates(S) * slope
    steep = math.tan(math.radians(degrees))
    # A point at depth Z on the ray of row v has height -v Z, the ground there has Z * steep - below: equate both.
    Z = below / (v + steep)
    rows = (Z > 0) & (Z < 50)
    depth = torch.where(rows, Z, 50.0).unsqueeze(1).expand(S, S)
    angles = hha_maps(depth.unsqueeze(0), slope, 10.0)[0, 2]
    inner = rows & rows.roll(1) & rows.roll(-1)
    inner[[0, -1]] = False
    assert inner.sum() > 3
    torch.testing.assert_close(angles[inner], torch.full((int(inner.sum()), S), degrees / 180), atol=1e-3, rtol=0)


def test_hha_matches_a_loop(tiny: Dataset) -> None:
    """Disparity, height and angle of every pixel, computed from the definition of a pinhole camera."""
    depth = tiny.train.depth
    assert depth is not None
    S, slope, far = 8, math.tan(math.radians(30)), 6.0
    depth = depth[:2, 12:20, 12:20].clone()
    depth[0, 0, 0] = 0.5  # nearer than disparity goes
    maps = hha_maps(depth, slope, far)
    for n in range(2):
        point = {}
        for y in range(S):
            for x in range(S):
                Z = depth[n, y, x].item()
                point[y, x] = (slope * ((x + 0.5) * 2 / S - 1) * Z, -slope * ((y + 0.5) * 2 / S - 1) * Z, Z)
        lowest = min(p[1] for p in point.values())
        for y in range(S):
            for x in range(S):
                X, Y, Z = point[y, x]
                assert maps[n, 0, y, x].item() == pytest.approx(1 / max(Z, 1.0), abs=1e-5)
                high = min(1.0, (Y - lowest) / (2 * slope * far))
                assert maps[n, 1, y, x].item() == pytest.approx(high, abs=1e-5)
                if 0 < x < S - 1 and 0 < y < S - 1:
                    d = [p - q for p, q in zip(point[y + 1, x], point[y - 1, x], strict=True)]
                    r = [p - q for p, q in zip(point[y, x + 1], point[y, x - 1], strict=True)]
                    normal = (d[1] * r[2] - d[2] * r[1], d[2] * r[0] - d[0] * r[2], d[0] * r[1] - d[1] * r[0])
                    length = math.sqrt(sum(c * c for c in normal))
                    facing = -1 if normal[0] * X + normal[1] * Y + normal[2] * Z > 0 else 1
                    angle = math.acos(max(-1, min(1, facing * normal[1] / length))) / math.pi
                    assert maps[n, 2, y, x].item() == pytest.approx(angle, abs=2e-3)


def test_mirrored_scenes_have_mirrored_maps(tiny: Dataset) -> None:
    """The maps of a mirrored scene are the mirrored maps, so flipping them is correct."""
    depth = tiny.train.depth
    assert depth is not None
    torch.testing.assert_close(
        hha_maps(depth[:8].flip(-1), 1.0, 10.0), hha_maps(depth[:8], 1.0, 10.0).flip(-1), atol=1e-3, rtol=0
    )


def test_maps_are_cropped_and_mirrored_with_their_image(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that reads the depth from the view has no error, because both are cropped and mirrored alike."""
    batch = make_batch(tiny, 8)
    assert batch.depth is not None
    depth_images = (batch.depth / 10).clamp(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)  # images that show the target
    method = make_method(target="depth")
    monkeypatch.setattr(method, "predict", lambda views: average_to_quarter(views[:, :1]))
    assert method.loss(Batch(images=depth_images, indices=batch.indices, depth=batch.depth)).item() < 1e-10
    mirrored = Batch(images=depth_images.flip(-1), indices=batch.indices, depth=batch.depth)
    assert method.loss(mirrored).item() > 1e-3


@pytest.mark.parametrize("target", ["hha", "depth"])
def test_the_loss_matches_a_loop(tiny: Dataset, target: str) -> None:
    """The mean squared error over all values, and its share of the variance around the mean map."""
    method = make_method(target=target).eval()
    batch = make_batch(tiny, 3)
    torch.manual_seed(1)
    loss = method.loss(batch)
    torch.manual_seed(1)
    views = random_resized_crops(
        torch.cat([to_float(batch.images), method.target_maps(batch)], dim=1),
        scale=(method.crop, 1.0),
        flip=method.flip,
    )
    truth, answers = average_to_quarter(views[:, 3:]), method.predict(views[:, :3])
    assert truth.shape == answers.shape == (3, 3 if target == "hha" else 1, 8, 8)
    assert 0 <= truth.min() <= truth.max() <= 1
    errors, blind = [], []
    for t, a in zip(truth.flatten(1).T.tolist(), answers.flatten(1).T.tolist(), strict=True):
        errors += [(p - q) ** 2 for p, q in zip(t, a, strict=True)]
        blind += [(p - sum(t) / 3) ** 2 for p in t]
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    assert method.logged["unexplained"].item() == pytest.approx(sum(errors) / sum(blind), rel=1e-3)


def test_the_field_of_view_matters(tiny: Dataset) -> None:
    """A wider camera makes the same slopes steeper in metres; heights relative to the view stay the same."""
    depth = tiny.train.depth
    assert depth is not None
    narrow, wide = (make_method(field_of_view=angle).target_maps(make_batch(tiny, 8)) for angle in (50.0, 90.0))
    assert torch.equal(narrow[:, 0], wide[:, 0])
    torch.testing.assert_close(narrow[:, 1], wide[:, 1])
    assert not torch.allclose(narrow[:, 2], wide[:, 2], atol=1e-2)
