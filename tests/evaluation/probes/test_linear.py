"""The linear probe: how it chooses the strength, and that chunks and rounding do not matter."""

from functools import partial

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes import feature_table, linear, logistic
from sslbench.bench.evaluation.probes.feature_table import FeatureTable
from tests.builders import overlapping_classes


def test_features_read_in_chunks_give_the_same(monkeypatch):
    """Neither the chunk size nor whether a prepared copy fits in memory matters."""
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


def test_the_held_out_part_is_the_same_whatever_the_features():
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
    """Features that name the class give accuracy 1, constant columns among them do no harm, and float16 will do."""
    y = torch.arange(120) % 3
    X = torch.nn.functional.one_hot(y, 5).half() * 4
    assert torch.equal(probe(X, y, X[:20], 3).predictions, y[:20])


@pytest.mark.parametrize(("n", "d"), [(300, 8), (90, 120)])
def test_what_is_held_out_has_no_part_in_the_choice(n, d, monkeypatch):
    """Held-out rows far off the others change neither mean and scale nor the accuracies that choose the strength."""
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
    """Where every strength is perfect on the held-out part, the smallest C is taken, wherever it stands in the list."""
    y = torch.arange(120) % 3
    X = torch.nn.functional.one_hot(y, 3).float()
    assert probes.linear_probe(X, y, X, 3, strengths=[1.0, 1e-2, 10.0]).strength == 1e-2


def test_a_class_without_images_is_never_predicted():
    """Ten classes of which three occur: the others have no say."""
    X, y = overlapping_classes(90, 8, 3)
    answers = probes.linear_probe(X, y * 3, X, 10).predictions
    assert set(answers.tolist()) <= {0, 3, 6}
