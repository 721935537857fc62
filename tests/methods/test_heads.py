"""Heads of joint-embedding methods, and the measure of collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sslbench.methods._heads import mlp, spread


def test_an_mlp_has_the_requested_layers() -> None:
    """Linear layers with norm and activation between them, and no bias where a norm would remove it."""
    plain, normed, last = mlp(3, 4, 5, norm=False), mlp(3, 4, 6, 5), mlp(3, 4, 5, norm_last=True)
    assert [type(layer) for layer in plain] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in normed] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert [type(layer) for layer in last] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert [layer.bias is not None for layer in normed if isinstance(layer, nn.Linear)] == [False, False, True]
    assert [layer.bias is not None for layer in plain if isinstance(layer, nn.Linear)] == [True, True]
    assert last[3].bias is None
    assert not last[4].affine
    assert [type(layer) for layer in mlp(3, 4, 5, norm=False, activation=nn.GELU)] == [nn.Linear, nn.GELU, nn.Linear]
    assert mlp(3, 2)(torch.rand(4, 3)).shape == (4, 2)
    values = torch.rand(7, 3)
    assert [network(values).shape for network in (plain, normed, last)] == [(7, 5)] * 3


def test_spread_matches_a_loop() -> None:
    """The standard deviation of each dimension of the unit vectors, averaged, times the root of their number."""
    embeddings = torch.randn(5, 3)
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in embeddings.tolist()]
    deviations = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / 5
        deviations.append(math.sqrt(sum((x - mean) ** 2 for x in column) / 4))
    assert spread(embeddings).item() == pytest.approx(sum(deviations) / 3 * math.sqrt(3), rel=1e-5)


def test_spread_distinguishes_a_sphere_from_a_point() -> None:
    """1 for directions uniform on the sphere, 0 for a single direction, whatever the lengths; there is no gradient."""
    torch.manual_seed(0)
    embeddings = torch.randn(4000, 32, requires_grad=True)
    assert spread(embeddings).item() == pytest.approx(1, abs=0.01)
    assert not spread(embeddings).requires_grad
    lengths = torch.rand(50, 1) + 0.1
    assert spread(lengths * torch.randn(1, 32)).item() == pytest.approx(0, abs=1e-5)
