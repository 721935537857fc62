"""How features lie on the sphere: near their other view, far from all else, and beside whom."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .neighbours import nearest
from .rows import check


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of two views' unit features (N, D), 0 at best (Wang and Isola, ICML 2020, section 4.1)."""
    check(first)
    check(second)
    return float((F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """Log of the mean of exp(-2 d^2) over all pairs of unit features (N, D); -4 at best, 0 where all are one point.

    Wang and Isola, ICML 2020, section 4.1. https://arxiv.org/abs/2005.10242
    """
    check(features)
    return float(torch.pdist(F.normalize(features, dim=1)).square().mul(-2).exp().mean().log())


def false_negatives(
    features: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, hardest: float
) -> tuple[float, float]:
    """Share of images (N, D) of the queries' (M, D) own class: among all, and among the most similar part of them."""
    check(features)
    check(queries)
    labels, truth = labels.to(features.device), truth.to(features.device)
    every = torch.bincount(labels, minlength=int(truth.max()) + 1)[truth].float().mean() / len(labels)
    close = [i for _, i in nearest(features, queries, max(1, round(hardest * len(features))), 512)]
    return float(every), float((labels[torch.cat(close)] == truth[:, None]).float().mean())
