"""The covariance of the features, which preconditions logistic regression.

N images, D features, R eigenvectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .feature_table import FeatureTable

FEW_ROWS = 2048  # up to so many images, where they are fewer than the features, only their span is used


@dataclass(frozen=True)
class Curvature:
    """Eigenvalues and eigenvectors of the features' covariance, either all or the largest."""

    vectors: Tensor | None  # (D, R); None where the features are already coordinates along the eigenvectors
    values: Tensor  # (R,)
    rest: Tensor  # mean eigenvalue of the other D - R directions

    @classmethod
    def of(cls, table: FeatureTable, *, full: int = 2560, rank: int = 512) -> Curvature:
        """Exact up to ``full`` features; beyond that a Nyström approximation with ``rank`` eigenvectors.

        Frangella, Tropp and Udell, "Randomized Nyström preconditioning", 2021, algorithm 2.1.
        https://arxiv.org/abs/2110.02820
        """
        (n, d), device = table.features.shape, table.features.device
        if d <= full:
            values, vectors = torch.linalg.eigh(covariance(table) / n)
            return cls(vectors, values.clamp_min(0), torch.ones((), device=device))
        rank = min(rank, n, d)
        normal = torch.randn(d, rank, generator=torch.Generator().manual_seed(0)).to(device)
        probes = torch.linalg.qr(normal)[0]
        sketch, trace = torch.zeros(d, rank, device=device), torch.zeros((), device=device)
        for x in table:
            sketch.addmm_(x.T, x @ probes)
            trace += x.square().sum()
        sketch, trace = sketch / n, trace / n
        shift = 1e-5 * torch.linalg.matrix_norm(sketch) + 1e-30
        sketch += shift * probes
        factor = torch.linalg.cholesky(probes.T @ sketch)
        root = torch.linalg.solve_triangular(factor, sketch.T, upper=False)  # (R, D), covariance ~ root' root
        values, rotation = torch.linalg.eigh(root @ root.T)
        vectors = (root.T @ rotation) / values.clamp_min(1e-30).sqrt()
        values = (values - shift).clamp_min(0)
        return cls(vectors, values, (trace - values.sum()).clamp_min(0) / max(1, d - rank) + shift)

    def solve(self, gradient: Tensor, weight: Tensor, penalty: Tensor) -> Tensor:
        """(weight * covariance + penalty)^-1 gradient; gradient (A, K, D), weight (A, K, 1), penalty (A, 1, 1)."""
        if self.vectors is None:
            return gradient / (weight * self.values + penalty)
        tail = 1 / (weight * self.rest + penalty)
        inside = 1 / (weight * self.values + penalty) - tail
        return gradient * tail + ((gradient @ self.vectors) * inside) @ self.vectors.T


def covariance(table: FeatureTable) -> Tensor:
    """Sum over rows of x x' (D, D), computed from its upper blocks, since it is symmetric."""
    d = table.features.shape[1]
    total, block = torch.zeros(d, d, device=table.features.device), max(256, -(-d // 8))
    for x in table:
        for i in range(0, d, block):
            total[i : i + block, i:].addmm_(x[:, i : i + block].T, x[:, i:])
    return total.triu() + total.triu(1).T


def row_space(table: FeatureTable) -> tuple[Tensor, Tensor, Curvature]:
    """Coordinates (N, R) of the rows along the eigenvectors of their covariance, those eigenvectors (D, R), the rest.

    The penalty keeps the weights within the span of the rows, so nothing is lost where images are fewer than features.
    """
    Z = torch.cat(list(table)).double()
    values, U = torch.linalg.eigh(Z @ Z.T)
    spanned = values > 1e-10 * values[-1].clamp_min(1e-30)
    U, root = U[:, spanned], values[spanned].sqrt()
    curvature = Curvature(None, (root.square() / len(Z)).float(), torch.zeros((), device=Z.device))
    return (U * root).float(), (Z.T @ U / root).float(), curvature
