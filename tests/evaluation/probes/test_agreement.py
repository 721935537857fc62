"""Agreement of clusters and classes: equal to scikit-learn's values."""

from __future__ import annotations

import pytest
import torch
from sklearn import metrics

from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes.agreement import contingency_table

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(5, (300,), generator=GENERATOR)


def noisy_clusters(k: int) -> torch.Tensor:
    """Cluster numbers (300,) that agree with the classes in part."""
    random_clusters = torch.randint(k, (300,), generator=GENERATOR)
    return torch.where(torch.rand(300, generator=GENERATOR) < 0.6, LABELS % k, random_clusters)


CASES = {
    "fewer clusters": (LABELS, noisy_clusters(3)),
    "as many": (LABELS, noisy_clusters(5)),
    "more": (LABELS, noisy_clusters(20)),
    "the classes": (LABELS, (LABELS + 1) % 5),
    "one cluster": (LABELS, LABELS * 0),
    "one class": (LABELS * 0, LABELS),
    "one of each": (LABELS * 0, LABELS * 0),
    "a cluster left empty": (LABELS, noisy_clusters(5) * 2),
}


@pytest.mark.parametrize(("labels", "clusters"), CASES.values(), ids=CASES)
def test_agreement_is_scikit_learns(labels: torch.Tensor, clusters: torch.Tensor) -> None:
    """Every measure agrees to nine digits, also at the ends of its range."""
    a, b = labels.numpy(), clusters.numpy()
    expected = {
        "homogeneity": metrics.homogeneity_score(a, b),
        "completeness": metrics.completeness_score(a, b),
        "v_measure": metrics.v_measure_score(a, b),
        "nmi": metrics.normalized_mutual_info_score(a, b, average_method="geometric"),
        "ari": metrics.adjusted_rand_score(a, b),
    }
    found = probes.clustering_agreement(labels, clusters)
    assert {name: found[name][0] for name in expected} == pytest.approx(expected, abs=1e-9)
    for value, low, high in found.values():
        assert low <= value <= high


def test_hungarian_accuracy_pairs_each_class_with_one_cluster() -> None:
    """The best pairing counts, here found by trying all of them; images in clusters without a class are wrong."""
    from itertools import permutations

    labels, clusters = CASES["as many"]
    counts = contingency_table(labels, clusters)
    best = max(sum(counts[c, k] for c, k in enumerate(order)) for order in permutations(range(5)))
    assert probes.clustering_agreement(labels, clusters)["hungarian"][0] == best / 300
    split = torch.tensor([0, 0, 0, 1, 2, 2])
    assert probes.clustering_agreement(torch.tensor([0, 0, 0, 0, 1, 1]), split)["hungarian"][0] == 5 / 6


def test_clusters_that_are_the_classes_have_an_interval() -> None:
    """A Hungarian accuracy of 1 over 45 images has a width: other images may be wrong."""
    value, low, high = probes.clustering_agreement(torch.arange(45) % 3, torch.arange(45) % 3)["hungarian"]
    assert (value, high) == (1, 1)
    assert low == pytest.approx(0.9213, abs=1e-4)


def test_intervals_hold_the_value_that_more_images_would_give() -> None:
    """In nine of ten samples the interval contains the value of all images together."""
    labels = torch.randint(4, (40_000,), generator=GENERATOR)
    clusters = torch.where(torch.rand(40_000, generator=GENERATOR) < 0.5, labels, labels.roll(1))
    truth = probes.clustering_agreement(labels, clusters, draws=2)["v_measure"][0]
    hits = 0
    for a, b in zip(labels.split(400), clusters.split(400), strict=True):
        _, low, high = probes.clustering_agreement(a, b, draws=200)["v_measure"]
        hits += low <= truth <= high
    assert hits >= 85
