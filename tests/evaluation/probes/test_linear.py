"""The linear probe: how it chooses the strength, and that chunks and rounding do not matter."""

from functools import partial

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes import feature_table, linear, logistic
from sslbench.bench.evaluation.probes.feature_table import FeatureTable
from tests.builders import overlapping_classes


def test_the_chunk_size_does_not_matter(monkeypatch):
    """Results depend neither on the chunk size nor on whether a standardised copy fits in memory."""
    X, y = overlapping_classes(230, 16)
    test, _ = overlapping_classes(50, 16, seed=1)
    whole = probes.linear_probe(X, y, test, 4)
    for module in (feature_table, linear, logistic):
        monkeypatch.setattr(module, "rows_per_chunk", lambda features: 64)
    monkeypatch.setattr(feature_table, "COPY_BYTES", 0)
    parts = probes.linear_probe(X, y, test, 4)
    assert parts.strength == whole.strength
    torch.testing.assert_close(parts.scores, whole.scores, rtol=1e-2, atol=1e-2)
    for key, votes in probes.knn_predictions(X, y, test, 4, k=(5, 20)).items():
        assert torch.equal(votes, probes.knn_predictions(X, y, test, 4, k=(5, 20), chunk=7)[key])


def test_the_held_out_part_does_not_depend_on_the_features():
    """Two encoders, or two processors that round differently, choose the strength on the same images."""
    X, y = overlapping_classes(240, 16)
    test, _ = overlapping_classes(100, 16, seed=1)
    nudged = X * (1 + 1e-6 * torch.randn(X.shape, generator=torch.Generator().manual_seed(3)))
    for probe in (probes.linear_probe, partial(probes.mlp_probe, strengths=(1e-3, 1e-1), epochs=2)):
        one, other = probe(X, y, test, 4), probe(nudged, y, test, 4)
        assert torch.equal(one.validation_accuracies, other.validation_accuracies)
        assert one.strength == other.strength
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("probe", [probes.linear_probe, probes.mlp_probe])
def test_probe_of_ideal_features_is_perfect(probe):
    """One-hot features give accuracy 1, also with constant columns and in float16."""
    y = torch.arange(120) % 3
    X = torch.nn.functional.one_hot(y, 5).half() * 4
    assert torch.equal(probe(X, y, X[:20], 3).predictions, y[:20])


@pytest.mark.parametrize(("n", "d"), [(300, 8), (90, 120)])
def test_held_out_images_do_not_influence_the_training(n, d, monkeypatch):
    """Held-out outliers change neither mean and scale nor the accuracies by which the strength is chosen."""
    X, y = overlapping_classes(n, d, 3, apart=3.0)
    keep = torch.arange(n) % 5 > 0
    X[~keep, : d // 2] += 100
    monkeypatch.setattr(linear, "training_mask", lambda *_: keep)
    strengths = [1e-4, 1e-2, 1.0]
    Z = (X - X[keep].mean(0)) / X[keep].std(0, correction=0)
    models = [LogisticRegression(C=C, max_iter=5000).fit(Z[keep].numpy(), y[keep].numpy()) for C in strengths]
    found = probes.linear_probe(X, y, X, 3, strengths=strengths).validation_accuracies
    expected = [model.score(Z[~keep].numpy(), y[~keep].numpy()) for model in models]
    assert found.tolist() == pytest.approx(expected, abs=0.03)
    leaky = (X[~keep] - X.mean(0)) / X.std(0)
    assert abs(models[0].score(leaky.numpy(), y[~keep].numpy()) - expected[0]) > 0.1
    assert torch.equal(FeatureTable(X, standardise=True, keep=keep).mean, FeatureTable(X[keep], standardise=True).mean)


def test_ties_go_to_the_strongest_regularisation():
    """Where every strength is perfect on the held-out part, the smallest C wins, whatever the order."""
    y = torch.arange(120) % 3
    X = torch.nn.functional.one_hot(y, 3).float()
    assert probes.linear_probe(X, y, X, 3, strengths=[1.0, 1e-2, 10.0]).strength == 1e-2


def test_a_class_without_images_is_never_predicted():
    """Of ten classes only the three that occur are predicted."""
    X, y = overlapping_classes(90, 8, 3)
    predictions = probes.linear_probe(X, y * 3, X, 10).predictions
    assert set(predictions.tolist()) <= {0, 3, 6}
