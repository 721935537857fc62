"""k-means."""

import pytest
import torch
from sklearn.cluster import KMeans

from sslbench.bench.evaluation.probes.clusters import k_means, lloyd
from tests.builders import overlapping_classes


def test_k_means_finds_clear_clusters_as_scikit_learn_does():
    """Well-separated groups are found with scikit-learn's inertia, and a seed repeats the result."""
    X, y = overlapping_classes(200, 5)
    X = X / X.std(0) + 50 * torch.nn.functional.one_hot(y, 5)
    found = k_means(X, 4)
    assert found.inertia == pytest.approx(KMeans(4, n_init=5, random_state=0).fit(X.numpy()).inertia_, rel=1e-3)
    assert len({(int(a), int(b)) for a, b in zip(found.assignments, y, strict=True)}) == 4
    assert torch.equal(found.assignments, k_means(X, 4).assignments)


def test_k_means_fills_empty_clusters():
    """Centres far from all images are moved to images."""
    X = torch.tensor([[0.0], [1.0], [10.0], [11.0], [30.0]])
    found = lloyd(X, torch.tensor([[0.0], [500.0], [900.0]]), 20)
    assert sorted(torch.bincount(found.assignments, minlength=3).tolist()) == [1, 2, 2]


def test_k_means_with_as_many_clusters_as_images_leaves_no_distance():
    """Every image is its own centre, and equal images cause no error."""
    assert k_means(torch.arange(6.0)[:, None], 6).inertia == 0
    assert k_means(torch.ones(6, 2), 3).inertia == 0
