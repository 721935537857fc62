"""VICReg: the three terms of algorithm 1 and their weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import two_views
from sslbench.methods.vicreg import VICReg, covariance_term, variance_term

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> VICReg:
    torch.manual_seed(0)
    return VICReg(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5} | settings)


def covariance(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)


def terms(one: list[list[float]], other: list[list[float]]) -> tuple[float, float, float]:
    """Algorithm 1: the mean squared difference, and variance and covariance terms summed over both views."""
    squares = [(x - y) ** 2 for a, b in zip(one, other, strict=True) for x, y in zip(a, b, strict=True)]
    v = c = 0.0
    for rows in (one, other):
        columns = [list(column) for column in zip(*rows, strict=True)]
        for i, column in enumerate(columns):
            v += max(0.0, 1 - math.sqrt(covariance(column, column) + 1e-4)) / len(columns)
            for j, second in enumerate(columns):
                if i != j:
                    c += covariance(column, second) ** 2 / len(columns)
    return sum(squares) / len(squares), v, c


@pytest.mark.parametrize("settings", [{}, {"invariance": 2.0, "variance": 3.0, "covariance": 5.0}])
def test_the_loss_matches_a_loop(settings: dict[str, float], tiny: Dataset) -> None:
    """It is the weighted sum of three terms of two views' embeddings, by default with weights 25, 25 and 1."""
    method = make_method(**settings).eval()
    for parameter in method.branch[1].parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # so that no term is negligible
    images = tiny.train.images[:6]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(6)))
    torch.manual_seed(1)
    z = [method.branch(view.unsqueeze(0))[0].tolist() for view in two_views(images, method.augmentation)]
    s, v, c = terms(z[:6], z[6:])
    weights = settings or {"invariance": 25, "variance": 25, "covariance": 1}
    want = weights["invariance"] * s + weights["variance"] * v + weights["covariance"] * c
    assert loss.item() == pytest.approx(want, rel=1e-3)
    assert method.logged["invariance"].item() == pytest.approx(s, rel=1e-2, abs=1e-4)
    assert method.logged["variance"].item() == pytest.approx(v, rel=1e-2)
    assert method.logged["covariance"].item() == pytest.approx(c, rel=1e-2, abs=1e-4)


def test_each_term_matches_a_loop() -> None:
    """Variance counts dimensions with a standard deviation below 1, covariance pairs of different dimensions."""
    z = torch.randn(7, 4) * torch.tensor([0.1, 0.6, 2.0, 5.0])
    _, v, c = terms(z.tolist(), z.tolist())
    assert 2 * variance_term(z).item() == pytest.approx(v, rel=1e-4)
    assert 2 * covariance_term(z).item() == pytest.approx(c, rel=1e-3)


def test_a_collapse_has_the_largest_variance_term() -> None:
    """It is 1 minus the square root of 1e-4 for a constant; the covariance term is large for redundant dimensions."""
    constant = torch.ones(8, 3)
    assert variance_term(constant).item() == pytest.approx(0.99)
    assert covariance_term(constant).item() == 0
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # uncorrelated
    assert covariance_term(signs).item() == pytest.approx(0, abs=1e-6)
    assert covariance_term(signs[:, :1].expand(-1, 2)).item() == pytest.approx((4 / 3) ** 2)
    assert variance_term(signs).item() == 0
