"""k-means clustering: Lloyd's algorithm started from k-means++ centres."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import require
from .feature_table import check_features, rows_per_chunk


@dataclass(frozen=True)
class Clusters:
    """The result of k-means."""

    assignments: Tensor  # (N,)
    centres: Tensor  # (k, D)
    inertia: float  # sum of squared distances to the nearest centre


def k_means(features: Tensor, k: int, *, seed: int = 0, iterations: int = 100, restarts: int = 3) -> Clusters:
    """Clusters features (N, D); of several restarts from k-means++ centres, returns the one of least inertia.

    A cluster that loses all its images restarts at the image farthest from its centre.
    Arthur and Vassilvitskii, "k-means++", SODA 2007. Raises UserError where k exceeds the number of images.
    """
    check_features(features)
    require(1 <= k <= len(features), "k", k, f"within 1 ... {len(features)}, the number of images")
    require(min(iterations, restarts) >= 1, "iterations, restarts", (iterations, restarts), "1 or more each")
    generator = torch.Generator().manual_seed(seed)
    runs = [lloyd(features, k_means_plus_plus(features, k, generator), iterations) for _ in range(restarts)]
    return min(runs, key=lambda run: run.inertia)


def lloyd(features: Tensor, centres: Tensor, iterations: int) -> Clusters:
    """Alternates between assigning images to centres and averaging them, until no image changes its cluster."""
    k, before = len(centres), None
    for _ in range(iterations):
        assignments = assign_clusters(features, centres)
        if before is not None and torch.equal(assignments, before):
            break
        before = assignments
        counts = torch.bincount(assignments, minlength=k)
        sums = torch.zeros_like(centres, dtype=torch.float64)
        start = 0
        for x in features.split(rows_per_chunk(features)):
            sums.index_add_(0, assignments[start : start + len(x)], x.double())
            start += len(x)
        if empty := int((counts == 0).sum()):
            farthest = squared_distances(features, centres, assignments).topk(empty).indices
        centres = (sums / counts.clamp_min(1)[:, None]).float()
        if empty:
            centres[counts == 0] = features[farthest].float()
    assignments = assign_clusters(features, centres)
    return Clusters(assignments, centres, float(squared_distances(features, centres, assignments).double().sum()))


def assign_clusters(features: Tensor, centres: Tensor) -> Tensor:
    """Features (N, D) and centres (k, D) -> the index of the nearest centre of each image (N,)."""
    squares = centres.square().sum(1)
    chunks = features.split(rows_per_chunk(features))
    return torch.cat([torch.addmm(squares, x.float(), centres.T, alpha=-2).argmin(1) for x in chunks])


def squared_distances(features: Tensor, centres: Tensor, assignments: Tensor) -> Tensor:
    """Squared distance of each image (N, D) to its assigned centre: (N,)."""
    rows = rows_per_chunk(features)
    parts = zip(features.split(rows), assignments.split(rows), strict=True)
    return torch.cat([(x.float() - centres[i]).square().sum(1) for x, i in parts])


def k_means_plus_plus(features: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draws k images (k, D) as first centres, each with probability proportional to its squared distance to the rest.

    That distance is to the nearest centre chosen before.
    """
    closest = torch.ones(len(features), dtype=torch.float64, device=features.device)
    centres: list[Tensor] = []
    for _ in range(k):
        levels = closest.cumsum(0)
        draw = torch.rand((), dtype=torch.float64, generator=generator).to(levels.device) * levels[-1]
        chosen = torch.searchsorted(levels, draw, right=True).clamp_max(len(features) - 1)
        centres.append(features[chosen].float())
        distances = [(x.float() - centres[-1]).square().sum(1) for x in features.split(rows_per_chunk(features))]
        closest = torch.cat(distances).double() if len(centres) == 1 else closest.minimum(torch.cat(distances).double())
    return torch.stack(centres)
