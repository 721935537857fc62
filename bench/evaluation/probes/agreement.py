"""Agreement of a clustering with the classes, computed from the counts of images by class and cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...statistics import percentile_interval, wilson_interval

Values = NDArray[np.float64]
LOWER_BOUNDS = {"ari": -0.5}  # the smallest possible value of a measure, where it is not 0


def clustering_agreement(
    labels: Tensor, clusters: Tensor, *, draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Labels and cluster numbers int64 (N,) -> for each measure its value and the ends of a 95 % interval over images.

    The interval is a bootstrap interval, shifted so that the mean of the resamples is the measured value. Without the
    shift it would be too high: a resample contains some images twice, and repeated images look like agreement. The
    Hungarian accuracy is a proportion and has Wilson's interval.
    """
    from scipy.optimize import linear_sum_assignment

    counts = contingency_table(labels, clusters)
    match = linear_sum_assignment(counts, maximize=True)
    resampled = np.random.default_rng(seed).multinomial(counts.sum(), counts.ravel() / counts.sum(), draws)
    bootstrap = agreement_measures(resampled.reshape(draws, *counts.shape), match)
    results = {}
    for name, value in agreement_measures(counts, match).items():
        smallest = LOWER_BOUNDS.get(name, 0)
        low, high = percentile_interval(bootstrap[name] - bootstrap[name].mean() + value, 0.95)
        results[name] = min(float(value), 1.0), max(low, smallest), min(high, 1.0)
    worst, best = wilson_interval(counts[match].sum(), counts.sum())
    results["hungarian"] = results["hungarian"][0], float(worst), float(best)
    return results


def contingency_table(labels: Tensor, clusters: Tensor) -> NDArray[np.int64]:
    """Number of images of each class in each cluster: (classes, clusters)."""
    k = int(clusters.max()) + 1
    counts = torch.bincount(labels.to(clusters.device) * k + clusters, minlength=k * (int(labels.max()) + 1))
    table: NDArray[np.int64] = counts.view(-1, k).cpu().numpy()
    return table


def agreement_measures(counts: NDArray[np.int64], match: tuple[Any, Any]) -> dict[str, Values]:
    """Contingency tables (..., classes, clusters) -> every measure (...).

    ``match`` holds class numbers and the cluster paired with each, for the Hungarian accuracy.

    Homogeneity: the share of the classes' entropy that the clusters explain. Completeness: the same with classes and
    clusters exchanged. V-measure: their harmonic mean (Rosenberg and Hirschberg, EMNLP 2007). NMI: mutual information
    over the geometric mean of both entropies (Strehl and Ghosh, JMLR 2002). ARI: the share of image pairs that both
    groupings treat alike, corrected for chance (Hubert and Arabie 1985). Hungarian: accuracy when each class is
    assigned one cluster (Kuhn 1955).
    """
    total = counts.sum((-2, -1))
    shares = counts / total[..., None, None]
    of_classes, of_clusters = entropy(shares.sum(-1)), entropy(shares.sum(-2))
    mutual = np.maximum(of_classes + of_clusters - entropy(shares.reshape(*total.shape, -1)), 0)
    homogeneity, completeness = divide_or(mutual, of_classes, 1), divide_or(mutual, of_clusters, 1)
    together, same_class, same_cluster = (
        pair_count(part).sum(-1) for part in (counts.reshape(*total.shape, -1), counts.sum(-1), counts.sum(-2))
    )
    chance = divide_or(same_class * same_cluster, pair_count(total), 0)
    return {
        "homogeneity": homogeneity,
        "completeness": completeness,
        "v_measure": divide_or(2 * homogeneity * completeness, homogeneity + completeness, 0),
        "nmi": divide_or(mutual, np.sqrt(of_classes * of_clusters), of_classes == of_clusters),
        "ari": divide_or(together - chance, (same_class + same_cluster) / 2 - chance, 1),
        "hungarian": counts[..., match[0], match[1]].sum(-1) / total,
    }


def entropy(shares: Values) -> Values:
    """Shares (..., n) -> entropies (...) in nats; 0 where only rounding makes them positive."""
    from scipy.special import entr

    nats = entr(shares).sum(-1)
    return np.where(nats > 1e-12, nats, 0)


def pair_count(n: NDArray[np.int64]) -> Values:
    """The number of pairs among n images."""
    return n * (n - 1) / 2


def divide_or(a: Values, b: Values, otherwise: Any) -> Values:
    """a / b, and ``otherwise`` where b is 0."""
    nonzero = np.abs(b) > 1e-12
    return np.where(nonzero, a / np.where(nonzero, b, 1), otherwise)
