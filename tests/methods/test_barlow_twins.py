"""Barlow Twins: the cross-correlation matrix, its distance from the identity, and the two kinds of views."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import two_views
from sslbench.methods.barlow_twins import BarlowTwins, cross_correlation, distance_from_identity

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> BarlowTwins:
    torch.manual_seed(0)
    return BarlowTwins(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5} | settings)


def correlations(one: list[list[float]], other: list[list[float]]) -> list[list[float]]:
    """Equation 2 after subtracting the mean of each column."""

    def centred(rows: list[list[float]]) -> list[list[float]]:
        columns = [list(column) for column in zip(*rows, strict=True)]
        return [[x - sum(column) / len(column) for x in column] for column in columns]

    def correlation(a: list[float], b: list[float]) -> float:
        product = sum(x * y for x, y in zip(a, b, strict=True))
        return product / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    return [[correlation(a, b) for b in centred(other)] for a in centred(one)]


def barlow_loss(matrix: list[list[float]], redundancy: float) -> float:
    """Equation 1."""
    total = 0.0
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            total += (1 - value) ** 2 if i == j else redundancy * value**2
    return total


def test_the_matrix_and_its_distance_match_a_loop() -> None:
    """Rows of the matrix are components of the first view, columns those of the second; the loss is equation 1."""
    one, other = torch.randn(6, 4) * 3 + 1, torch.randn(6, 4)
    matrix = cross_correlation(one, other)
    want = correlations(one.tolist(), other.tolist())
    torch.testing.assert_close(matrix, torch.tensor(want), atol=1e-3, rtol=1e-3)
    assert distance_from_identity(matrix, 0.3).item() == pytest.approx(barlow_loss(want, 0.3), rel=1e-3)


def test_the_identity_has_no_loss() -> None:
    """Equal views with uncorrelated components cost nothing; equal components and unrelated views have a known cost."""
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # columns orthogonal, mean zero
    assert distance_from_identity(cross_correlation(signs, 5 * signs + 2), 1.0).item() == pytest.approx(0, abs=1e-3)
    alike = signs[:, :1].expand(-1, 3)
    assert distance_from_identity(cross_correlation(alike, alike), 0.1).item() == pytest.approx(0.6, abs=1e-3)
    unrelated = distance_from_identity(cross_correlation(signs[:, :1], signs[:, 1:2]), 1.0)
    assert unrelated.item() == pytest.approx(1, abs=1e-3)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """The two halves of the views are the two sides of the matrix; lambda is 0.005 by default."""
    images = tiny.train.images[:6]
    for settings, redundancy in (({}, 0.005), ({"redundancy": 0.5}, 0.5)):
        method = make_method(**settings).eval()
        for parameter in method.f[1].parameters():
            torch.nn.init.normal_(parameter)  # large compared with the eps of batch norm
        torch.manual_seed(1)
        loss = method.loss(Batch(images=images, indices=torch.arange(6)))
        torch.manual_seed(1)
        z = [method.f(view.unsqueeze(0))[0].tolist() for view in two_views(images, *method.augmentations)]
        assert loss.item() == pytest.approx(barlow_loss(correlations(z[:6], z[6:]), redundancy), rel=1e-2)


def test_the_views_differ_in_blur_and_solarisation() -> None:
    """The first view is always blurred and never solarised; the second is rarely blurred and sometimes solarised."""
    first, second = make_method(crop=0.3).augmentations
    assert (first.blur, first.solarise, second.blur, second.solarise) == (1.0, 0.0, 0.1, 0.2)
    assert first.crop == second.crop == 0.3


def test_each_view_has_its_own_batch_statistics(tiny: Dataset) -> None:
    """In training, the projections of the first views do not depend on the second views."""
    method = make_method()
    views = two_views(tiny.train.images[:8])
    together = method.project(views)
    others = method.project(torch.cat([views[:8], 1 - views[8:]]))
    torch.testing.assert_close(together[:8], others[:8])
    assert not torch.allclose(together[8:], others[8:])


def test_the_matrix_is_shown(tiny: Dataset) -> None:
    """The last panel shows the matrix in grey, one pixel per pair of components, and is the same for all images."""
    method = make_method(dim=40).eval()
    batch = Batch(images=tiny.train.images[:12], indices=torch.arange(12))
    torch.manual_seed(0)
    with torch.no_grad():
        panel = method.panels(batch)[-1].images
        torch.manual_seed(0)
        matrix = cross_correlation(*method.project(two_views(batch.images, *method.augmentations)).chunk(2))
    torch.testing.assert_close(panel, ((1 + matrix[:32, :32]) / 2).clamp(0, 1).expand(12, 3, 32, 32))
