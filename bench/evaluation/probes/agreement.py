"""How far clusters are the classes, from the counts of images by class and cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...statistics import between

Values = NDArray[np.float64]
FLOORS = {"ari": -0.5}  # the least a measure can be, where that is not 0


def agreement(
    labels: Tensor, clusters: Tensor, *, draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Classes and clusters int64 (N,) -> by measure its value and a 95 % interval over images.

    The interval is a bootstrap's, moved so that its mean is the value: in a resample some images are there twice, and
    what repeats looks like agreement.
    """
    from scipy.optimize import linear_sum_assignment

    counts = contingency(labels, clusters)
    match = linear_sum_assignment(counts, maximize=True)
    resampled = np.random.default_rng(seed).multinomial(counts.sum(), counts.ravel() / counts.sum(), draws)
    drawn = measures(resampled.reshape(draws, *counts.shape), match)
    found = {}
    for name, value in measures(counts, match).items():
        least = FLOORS.get(name, 0)
        low, high = between(drawn[name] - drawn[name].mean() + value, 0.95)
        found[name] = min(float(value), 1.0), max(low, least), min(high, 1.0)
    return found


def contingency(labels: Tensor, clusters: Tensor) -> NDArray[np.int64]:
    """Images of each class in each cluster, (classes, clusters)."""
    k = int(clusters.max()) + 1
    counts = torch.bincount(labels.to(clusters.device) * k + clusters, minlength=k * (int(labels.max()) + 1))
    return counts.view(-1, k).cpu().numpy()


def measures(counts: NDArray[np.int64], match: tuple[Any, Any]) -> dict[str, Values]:
    """Counts (..., classes, clusters) -> each measure (...); ``match`` are classes and the clusters paired with them.

    Homogeneity: of what there is to know of a class, the share that the cluster tells; completeness: the same with the
    sides exchanged; V: their harmonic mean (Rosenberg and Hirschberg, EMNLP 2007). NMI: mutual information over the
    geometric mean of the entropies (Strehl and Ghosh, JMLR 2002). ARI: pairs that both group alike, beyond chance
    (Hubert and Arabie 1985). Hungarian: accuracy with each class given one cluster (Kuhn 1955).
    """
    total = counts.sum((-2, -1))
    shares = counts / total[..., None, None]
    of_classes, of_clusters = entropy(shares.sum(-1)), entropy(shares.sum(-2))
    mutual = np.maximum(of_classes + of_clusters - entropy(shares.reshape(*total.shape, -1)), 0)
    homogeneity, completeness = over(mutual, of_classes, 1), over(mutual, of_clusters, 1)
    together, same_class, same_cluster = (
        pairs(part).sum(-1) for part in (counts.reshape(*total.shape, -1), counts.sum(-1), counts.sum(-2))
    )
    chance = over(same_class * same_cluster, pairs(total), 0)
    return {
        "homogeneity": homogeneity,
        "completeness": completeness,
        "v_measure": over(2 * homogeneity * completeness, homogeneity + completeness, 0),
        "nmi": over(mutual, np.sqrt(of_classes * of_clusters), of_classes == of_clusters),
        "ari": over(together - chance, (same_class + same_cluster) / 2 - chance, 1),
        "hungarian": counts[..., match[0], match[1]].sum(-1) / total,
    }


def entropy(shares: Values) -> Values:
    """Shares (..., n) -> nats (...); 0 where rounding alone says otherwise."""
    from scipy.special import entr

    nats = entr(shares).sum(-1)
    return np.where(nats > 1e-12, nats, 0)


def pairs(n: NDArray[np.int64]) -> Values:
    """How many pairs n images make."""
    return n * (n - 1) / 2


def over(a: Values, b: Values, otherwise: Any) -> Values:
    """a / b, and what is meant where b is 0."""
    there = np.abs(b) > 1e-12
    return np.where(there, a / np.where(there, b, 1), otherwise)
