"""Alignment, uniformity and false negatives, against loops written from the papers."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation import probes


def test_alignment_and_uniformity_are_the_papers_loops() -> None:
    """Mean squared distance of pairs; log of the mean Gaussian of all distances, on the unit sphere."""
    x, y = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
    u, v = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
    assert probes.alignment(x, y) == pytest.approx(
        sum(float((a - b) @ (a - b)) for a, b in zip(u, v, strict=True)) / 12
    )
    pairs = [math.exp(-2 * float((u[i] - u[j]) @ (u[i] - u[j]))) for i in range(12) for j in range(i)]
    assert probes.uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)
    assert probes.uniformity(torch.ones(3, 2)) == pytest.approx(0, abs=1e-6)


def test_false_negatives_by_hand() -> None:
    """Two queries, five images: the share of the queries' class among all, and among the nearest two fifths."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    every, hardest = probes.false_negative_shares(features, labels, queries, torch.tensor([0, 0]), 0.4)
    assert every == pytest.approx(2 / 5)
    assert hardest == pytest.approx((2 + 0) / 4)


@pytest.mark.parametrize("wrong", [torch.full((4, 2), torch.nan), torch.zeros(0, 2)])
def test_invalid_features_are_refused(wrong: torch.Tensor) -> None:
    """NaN values, or no images at all, raise UserError."""
    with pytest.raises(UserError):
        probes.uniformity(wrong)
    with pytest.raises(UserError):
        probes.alignment(wrong, wrong)
