"""Several labels: agreement with scikit-learn's logistic regression, labels that cannot be learned, bad data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.protocols.multilabel import MultiLabel, mean_share_of_positives, resampled_precisions
from tests.protocols.builders import ideal_representation


def test_scores_agree_with_scikit_learn() -> None:
    """Ranking and average precision of each of four labels, on features that do not tell everything."""
    representation = ideal_representation(train=80, test=100, noise=0.5)
    protocol = MultiLabel(taps=("conv5",), strengths=(0.1,))
    spec = FeatureSpec("conv5", 2048)
    train, test = representation.train(spec), representation.test(spec)
    labels, truth = representation.dataset.train.multi_labels, representation.dataset.test.multi_labels
    assert labels is not None
    assert truth is not None
    scores, _ = protocol.fit_labels(representation, spec, labels)
    scaler = StandardScaler().fit(train.numpy())
    expected = []
    for column in range(4):
        model = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
        model.fit(scaler.transform(train.numpy()), labels[:, column].numpy())
        answers = model.decision_function(scaler.transform(test.numpy()))
        np.testing.assert_allclose(scores[:, column], answers, atol=0.02)
        expected.append(average_precision_score(truth[:, column].numpy(), answers))
    found = next(protocol.evaluate(representation))
    assert found.value == pytest.approx(np.mean(expected), abs=2e-3)
    assert found.details is not None
    assert list(found.details["average_precision"]) == ["0", "1", "2", "3"]


def test_a_label_that_no_train_image_has() -> None:
    """It is ranked blindly; a label that no test image has does not count."""
    representation = ideal_representation()
    train, test = representation.dataset.train.multi_labels, representation.dataset.test.multi_labels
    assert train is not None
    assert test is not None
    train[:, 0], test[:, 1] = False, False
    found = next(MultiLabel(taps=("conv5",)).evaluate(representation))
    assert found.details is not None
    assert found.details["average_precision"] == {"0": 0.25, "2": 1.0, "3": 1.0}
    assert mean_share_of_positives(representation) == 0.25
    test[:] = False
    with pytest.raises(UserError, match="no test image has a label"):
        list(MultiLabel(taps=("conv5",)).evaluate(representation))


def test_the_interval_is_of_images_drawn_again() -> None:
    """Each draw's number is the precision of the images that were drawn, as often as they were."""
    generator = torch.Generator().manual_seed(0)
    scores, truth = torch.rand(12, 2, generator=generator), torch.rand(12, 2, generator=generator) < 0.5
    draws = np.array([[1] * 12, [2, 0] * 6])
    found = resampled_precisions(draws, scores=scores, truth=truth)
    for value, images in zip(found, (list(range(12)), [i for i in range(0, 12, 2) for _ in range(2)]), strict=True):
        expected = [average_precision_score(truth[images, c].numpy(), scores[images, c].numpy()) for c in range(2)]
        assert value == pytest.approx(np.mean(expected))
