"""Ridge regression in closed form, and a probe whose penalty is chosen on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError, require
from .feature_table import FeatureTable, check_features, rows_per_chunk
from .label_subset import label_subset


def ridge_regression(features: Tensor, targets: Tensor, penalties: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """Minimises ||X W + b - Y||^2 + penalty ||W||^2 for S penalties at once.

    Features (N, D) and targets (N, T) -> weights (S, D, T) and bias (S, T). One eigendecomposition, of the smaller of
    the two Gram matrices, serves all penalties.
    """
    check_features(features)
    require(len(features) == len(targets), "targets", tuple(targets.shape), f"{len(features)} rows, one per image")
    require(all(float(p) > 0 for p in penalties), "penalties", list(penalties), "positive numbers")
    Y = targets.to(features.device, torch.float64)
    chunk = rows_per_chunk(features)
    mean = sum((x.double().sum(0) for x in features.split(chunk)), torch.zeros(())) / len(features)
    middle = Y.mean(0)
    Y = Y - middle
    if features.shape[1] > features.shape[0]:
        X = features.double() - mean
        values, Q = torch.linalg.eigh(X @ X.T)
        inside = Q.T @ Y
    else:
        gram, inside = torch.zeros((), device=Y.device), torch.zeros((), device=Y.device)
        for x, y in zip(features.split(chunk), Y.split(chunk), strict=True):
            x = x.double() - mean
            gram, inside = gram + x.T @ x, inside + x.T @ y
        values, Q = torch.linalg.eigh(gram)
        X, inside = None, Q.T @ inside
    shrunk = [Q @ (inside / (values.clamp_min(0) + float(p))[:, None]) for p in penalties]
    weights = torch.stack(shrunk if X is None else [X.T @ w for w in shrunk])
    return weights.float(), (middle - mean @ weights).float()


@dataclass(frozen=True)
class RidgeModel:
    """A linear map of features that are not standardised to targets, and the penalty that was chosen for it."""

    weights: Tensor  # (D, T)
    bias: Tensor  # (T,)
    penalty: float  # per row of standardised features

    def predict(self, features: Tensor) -> Tensor:
        """Features (N, D) -> predicted targets (N, T)."""
        return torch.cat([x.float() @ self.weights + self.bias for x in features.split(rows_per_chunk(features))])


def ridge_probe(
    features: Tensor,
    targets: Tensor,
    penalties: Sequence[float],
    *,
    keep: Tensor | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> RidgeModel:
    """Fits standardised features (N, D) to targets (N, T); the penalty is chosen on held-out rows.

    Errors are compared relative to each target's variance, and the largest of equally good penalties wins. The held-out
    rows are those where ``keep`` (N,) is false, or the share ``held_out`` of all. Raises UserError where no target
    varies.
    """
    targets = targets.to(features.device, torch.float32)
    if not bool(torch.isfinite(targets).all()):
        raise UserError("the targets contain NaN or infinite values; correct the data.")
    spread = targets.double().var(0, correction=0)
    if not bool((spread > 0).any()):
        raise UserError("every train image has the same target values: there is nothing to learn.")
    if keep is None:
        keep = torch.zeros(len(features), dtype=torch.bool)
        keep[label_subset(torch.zeros(len(features), dtype=torch.int64), share=1 - held_out, seed=seed)] = True
    keep = keep.to(features.device)
    penalty = max(penalties)
    if len(penalties) > 1 and 1 < int(keep.sum()) < len(keep):
        weights, bias = fit_standardised(features[keep], targets[keep], penalties)
        left, truth = features[~keep], targets[~keep].double()
        errors = [
            float(((left.float() @ w + b - truth).square().mean(0) / spread.clamp_min(1e-30))[spread > 0].mean())
            for w, b in zip(weights, bias, strict=True)
        ]
        penalty = max(p for p, error in zip(penalties, errors, strict=True) if error == min(errors))
    weights, bias = fit_standardised(features, targets, [penalty])
    return RidgeModel(weights[0], bias[0], penalty)


def fit_standardised(features: Tensor, targets: Tensor, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Ridge regression on standardised features; weights (S, D, T) and bias (S, T) for those that are not."""
    table = FeatureTable(features, standardise=True)
    rows = torch.cat(list(table))
    weights, bias = ridge_regression(rows, targets, [p * len(rows) for p in penalties])
    weights = weights * table.scale[:, None]
    return weights, bias - (table.mean.double() @ weights.double()).float()
