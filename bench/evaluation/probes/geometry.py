"""Geometry of features on the unit sphere: alignment of views, uniformity, and the classes of near neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .feature_table import check_features
from .neighbours import nearest_neighbours


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance between the normalised features (N, D) of two views of the same images; 0 is best.

    Wang and Isola, ICML 2020, section 4.1. https://arxiv.org/abs/2005.10242
    """
    check_features(first)
    check_features(second)
    return float((F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """Log of the mean of exp(-2 d^2) over all pairs of normalised features (N, D), d being their distance.

    -4 is best, 0 means that all features coincide. Wang and Isola, ICML 2020, section 4.1.
    """
    check_features(features)
    return float(torch.pdist(F.normalize(features, dim=1)).square().mul(-2).exp().mean().log())


def false_negative_shares(
    features: Tensor, labels: Tensor, queries: Tensor, query_labels: Tensor, hardest: float
) -> tuple[float, float]:
    """How often a negative has the class of its query, and so is a false negative.

    Features (N, D), labels (N,), queries (M, D) and their labels (M,) -> the share among all N images, and the share
    among the most similar ones, whose number is ``hardest`` times N.
    """
    check_features(features)
    check_features(queries)
    labels, query_labels = labels.to(features.device), query_labels.to(features.device)
    counts = torch.bincount(labels, minlength=int(query_labels.max()) + 1)
    among_all = counts[query_labels].float().mean() / len(labels)
    neighbours = [i for _, i in nearest_neighbours(features, queries, max(1, round(hardest * len(features))), 512)]
    among_hardest = (labels[torch.cat(neighbours)] == query_labels[:, None]).float().mean()
    return float(among_all), float(among_hardest)
