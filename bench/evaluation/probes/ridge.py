"""Ridge regression in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import require
from .feature_table import check_features


def ridge_regression(features: Tensor, targets: Tensor, penalties: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """Minimises ||X W + b - Y||^2 + penalty ||W||^2 for S penalties at once.

    Features (N, D) and targets (N, T) -> weights (S, D, T) and bias (S, T). One eigendecomposition, of the smaller of
    the two Gram matrices, serves all penalties.
    """
    check_features(features)
    require(len(features) == len(targets), "targets", tuple(targets.shape), f"{len(features)} rows, one per image")
    require(all(float(p) > 0 for p in penalties), "penalties", list(penalties), "positive numbers")
    X, Y = features.double(), targets.to(features.device, torch.float64)
    mean, middle = X.mean(0), Y.mean(0)
    X, Y = X - mean, Y - middle
    wide = X.shape[1] > X.shape[0]
    values, Q = torch.linalg.eigh(X @ X.T if wide else X.T @ X)
    inside = Q.T @ (Y if wide else X.T @ Y)
    shrunk = [Q @ (inside / (values.clamp_min(0) + float(p))[:, None]) for p in penalties]
    weights = torch.stack([X.T @ w if wide else w for w in shrunk])
    return weights.float(), (middle - mean @ weights).float()
