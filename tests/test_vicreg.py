"""VICReg: the three terms of algorithm 1, and how they are weighed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import two_views
from sslbench.methods.vicreg import VICReg, redundancy, shortfall

FACTS = TrainInfo(num_images=64, num_classes=10, image_size=32)


def small_vicreg(**settings: Any) -> VICReg:
    torch.manual_seed(0)
    return VICReg(ConvNet(32, width=4), FACTS, **{"dim": 5} | settings)


def covariance(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)


def terms(one: list[list[float]], other: list[list[float]]) -> tuple[float, float, float]:
    """Algorithm 1: the mean square difference, and variance and covariance summed over the two views."""
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
    """The weighted sum of the three terms of two views' embeddings; the weights are 25, 25 and 1 unless set."""
    method = small_vicreg(**settings).eval()
    for parameter in method.branch[1].parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # large enough that every term counts
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
    """The hinge counts only numbers whose standard deviation is below 1, the covariance only pairs."""
    z = torch.randn(7, 4) * torch.tensor([0.1, 0.6, 2.0, 5.0])
    _, v, c = terms(z.tolist(), z.tolist())
    assert 2 * shortfall(z).item() == pytest.approx(v, rel=1e-4)
    assert 2 * redundancy(z).item() == pytest.approx(c, rel=1e-3)


def test_a_collapse_costs_variance_and_redundancy_covariance() -> None:
    """A constant falls short by all but the square root of 1e-4; numbers that vary together are redundant."""
    constant = torch.ones(8, 3)
    assert shortfall(constant).item() == pytest.approx(0.99)
    assert redundancy(constant).item() == 0
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # uncorrelated
    assert redundancy(signs).item() == pytest.approx(0, abs=1e-6)
    assert redundancy(signs[:, :1].expand(-1, 2)).item() == pytest.approx((4 / 3) ** 2)
    assert shortfall(signs).item() == 0
