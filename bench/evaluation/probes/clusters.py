"""k-means: Lloyd's algorithm from seeds that are spread out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import require
from .rows import check, chunk_rows


@dataclass(frozen=True)
class Clusters:
    """What k-means found."""

    assignments: Tensor  # (N,)
    centres: Tensor  # (k, D)
    inertia: float  # sum of squared distances to the nearest centre


def k_means(features: Tensor, k: int, *, seed: int = 0, iterations: int = 100, restarts: int = 3) -> Clusters:
    """The best of some restarts of Lloyd's iterations from k-means++ (Arthur and Vassilvitskii, SODA 2007).

    A cluster left without images restarts at the image farthest from its centre.
    """
    check(features)
    require(1 <= k <= len(features), "k", k, f"within 1 ... {len(features)}, the number of images")
    require(min(iterations, restarts) >= 1, "iterations, restarts", (iterations, restarts), "1 or more each")
    generator = torch.Generator().manual_seed(seed)
    runs = [lloyd(features, spread_out(features, k, generator), iterations) for _ in range(restarts)]
    return min(runs, key=lambda run: run.inertia)


def lloyd(features: Tensor, centres: Tensor, iterations: int) -> Clusters:
    """Assigns and averages by turns until no image moves."""
    k, before = len(centres), None
    for _ in range(iterations):
        assignments = assigned(features, centres)
        if before is not None and torch.equal(assignments, before):
            break
        before = assignments
        counts = torch.bincount(assignments, minlength=k)
        sums = torch.zeros_like(centres, dtype=torch.float64)
        at = 0
        for x in features.split(chunk_rows(features)):
            sums.index_add_(0, assignments[at : at + len(x)], x.double())
            at += len(x)
        if empty := int((counts == 0).sum()):
            farthest = distances(features, centres, assignments).topk(empty).indices
        centres = (sums / counts.clamp_min(1)[:, None]).float()
        if empty:
            centres[counts == 0] = features[farthest].float()
    assignments = assigned(features, centres)
    return Clusters(assignments, centres, float(distances(features, centres, assignments).double().sum()))


def assigned(features: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each image (N,)."""
    squares = centres.square().sum(1)
    chunks = features.split(chunk_rows(features))
    return torch.cat([torch.addmm(squares, x.float(), centres.T, alpha=-2).argmin(1) for x in chunks])


def distances(features: Tensor, centres: Tensor, assignments: Tensor) -> Tensor:
    """Squared distance of each image (N, D) to the centre that it is assigned to: (N,)."""
    rows = chunk_rows(features)
    parts = zip(features.split(rows), assignments.split(rows), strict=True)
    return torch.cat([(x.float() - centres[i]).square().sum(1) for x, i in parts])


def spread_out(features: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k images as first centres, each drawn with a chance that grows with its squared distance to those before."""
    closest = torch.ones(len(features), dtype=torch.float64, device=features.device)
    centres: list[Tensor] = []
    for _ in range(k):
        levels = closest.cumsum(0)
        draw = torch.rand((), dtype=torch.float64, generator=generator).to(levels.device) * levels[-1]
        chosen = torch.searchsorted(levels, draw, right=True).clamp_max(len(features) - 1)
        centres.append(features[chosen].float())
        distances = [(x.float() - centres[-1]).square().sum(1) for x in features.split(chunk_rows(features))]
        closest = torch.cat(distances).double() if len(centres) == 1 else closest.minimum(torch.cat(distances).double())
    return torch.stack(centres)
