"""Clusters and classes, features and spheres: equal to scikit-learn's numbers and to loops from the papers."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn import metrics

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes.agreement import contingency

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(5, (300,), generator=GENERATOR)


def blurred(k: int) -> torch.Tensor:
    """Clusters that know something of the classes."""
    lots = torch.randint(k, (300,), generator=GENERATOR)
    return torch.where(torch.rand(300, generator=GENERATOR) < 0.6, LABELS % k, lots)


CASES = {
    "fewer clusters": (LABELS, blurred(3)),
    "as many": (LABELS, blurred(5)),
    "more": (LABELS, blurred(20)),
    "the classes": (LABELS, (LABELS + 1) % 5),
    "one cluster": (LABELS, LABELS * 0),
    "one class": (LABELS * 0, LABELS),
    "one of each": (LABELS * 0, LABELS * 0),
    "a cluster left empty": (LABELS, blurred(5) * 2),
}


@pytest.mark.parametrize(("labels", "clusters"), CASES.values(), ids=CASES)
def test_agreement_is_scikit_learns(labels: torch.Tensor, clusters: torch.Tensor) -> None:
    """Every measure to nine digits, at the ends of its range too."""
    a, b = labels.numpy(), clusters.numpy()
    expected = {
        "homogeneity": metrics.homogeneity_score(a, b),
        "completeness": metrics.completeness_score(a, b),
        "v_measure": metrics.v_measure_score(a, b),
        "nmi": metrics.normalized_mutual_info_score(a, b, average_method="geometric"),
        "ari": metrics.adjusted_rand_score(a, b),
    }
    found = probes.agreement(labels, clusters)
    assert {name: found[name][0] for name in expected} == pytest.approx(expected, abs=1e-9)
    for value, low, high in found.values():
        assert low <= value <= high


def test_hungarian_accuracy_pairs_each_class_with_one_cluster() -> None:
    """Of all ways to pair them the best counts, here found by trying all; clusters without a class are wrong."""
    from itertools import permutations

    labels, clusters = CASES["as many"]
    counts = contingency(labels, clusters)
    best = max(sum(counts[c, k] for c, k in enumerate(order)) for order in permutations(range(5)))
    assert probes.agreement(labels, clusters)["hungarian"][0] == best / 300
    torn = torch.tensor([0, 0, 0, 1, 2, 2])
    assert probes.agreement(torch.tensor([0, 0, 0, 0, 1, 1]), torn)["hungarian"][0] == 5 / 6


def test_intervals_hold_the_value_that_more_images_would_give() -> None:
    """Nine samples in ten have the truth in their interval: that of all images together."""
    labels = torch.randint(4, (40_000,), generator=GENERATOR)
    clusters = torch.where(torch.rand(40_000, generator=GENERATOR) < 0.5, labels, labels.roll(1))
    truth = probes.agreement(labels, clusters, draws=2)["v_measure"][0]
    hits = 0
    for a, b in zip(labels.split(400), clusters.split(400), strict=True):
        _, low, high = probes.agreement(a, b, draws=200)["v_measure"]
        hits += low <= truth <= high
    assert hits >= 85


def test_alignment_and_uniformity_are_the_papers_loops() -> None:
    """Mean squared distance of pairs; log of the mean Gaussian of all distances, on the unit sphere."""
    x, y = torch.randn(2, 12, 3, generator=GENERATOR)
    u, v = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
    assert probes.alignment(x, y) == pytest.approx(
        sum(float((a - b) @ (a - b)) for a, b in zip(u, v, strict=True)) / 12
    )
    pairs = [math.exp(-2 * float((u[i] - u[j]) @ (u[i] - u[j]))) for i in range(12) for j in range(i)]
    assert probes.uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-5)
    assert probes.uniformity(torch.ones(3, 2)) == pytest.approx(0, abs=1e-6)


def test_false_negatives_by_hand() -> None:
    """Two queries, five images: of all, the class's share; of the nearest two fifths, who stands there."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    every, hardest = probes.false_negatives(features, labels, queries, torch.tensor([0, 0]), 0.4)
    assert every == pytest.approx(2 / 5)
    assert hardest == pytest.approx((2 + 0) / 4)


@pytest.mark.parametrize("wrong", [torch.full((4, 2), torch.nan), torch.zeros(0, 2)])
def test_features_that_are_none_are_refused(wrong: torch.Tensor) -> None:
    """NaN or no images at all is one line."""
    with pytest.raises(UserError):
        probes.uniformity(wrong)
    with pytest.raises(UserError):
        probes.alignment(wrong, wrong)
