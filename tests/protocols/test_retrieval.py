"""Retrieval: precision agrees with scikit-learn, recall with a loop, and chance with random features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn.functional import normalize

from sslbench.bench.errors import UserError
from sslbench.protocols.retrieval import Retrieval, mean_share_of_the_class, rank_queries, recall_by_chance
from tests.protocols.builders import ideal_representation, representation_of


def test_rankings_agree_with_scikit_learn_and_a_loop() -> None:
    """Average precision and recall at 1 and 3 of seven queries, two of them with the same features."""
    generator = torch.Generator().manual_seed(0)
    bank, queries = (normalize(torch.randn(n, 3, generator=generator), dim=1) for n in (20, 7))
    queries[6] = queries[0]
    bank_labels, labels = (torch.randint(3, (n,), generator=generator) for n in (20, 7))
    precisions, hits = rank_queries(bank, bank_labels, queries, labels, (1, 3))
    for at, (query, label) in enumerate(zip(queries, labels, strict=True)):
        similarity, same = (bank @ query).numpy(), (bank_labels == label).numpy()
        assert float(precisions[at]) == pytest.approx(average_precision_score(same, similarity))
        nearest = sorted(range(20), key=lambda i: -similarity[i])
        for place, k in enumerate((1, 3)):
            assert bool(hits[place, at]) == any(same[i] for i in nearest[:k])


def test_the_number_is_the_mean_over_queries_of_many_chunks() -> None:
    """260 queries are more than are ranked at once; their mean and their recalls are those of one ranking each."""
    representation = ideal_representation(train=30, test=260, noise=0.5)
    found = {one.metric: one.value for one in Retrieval(taps=("conv5",), k=(1, 5)).evaluate(representation)}
    bank, queries = (
        normalize(split.images[:].flatten(1).float(), dim=1)
        for split in (representation.dataset.train, representation.dataset.test)
    )
    similarity, same = queries @ bank.T, representation.test_labels[:, None] == representation.train_labels
    expected = [
        average_precision_score(truth.numpy(), row.numpy()) for truth, row in zip(same, similarity, strict=True)
    ]
    assert found["mean_average_precision"] == pytest.approx(np.mean(expected), abs=1e-5)
    order = similarity.argsort(dim=1, descending=True)
    for k in (1, 5):
        assert found[f"recall_at_{k}"] == pytest.approx(float(same.gather(1, order[:, :k]).any(1).float().mean()))


def test_a_query_whose_class_is_not_in_the_bank_has_no_precision() -> None:
    """It does not count for the precision, and counts as not found for the recall."""
    features = torch.eye(3)
    train, test = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3, 3])
    representation = representation_of(features, train, features[[0, 1, 2, 2]], test)
    found = {one.metric: one.value for one in Retrieval(taps=("conv5",), k=(1,)).evaluate(representation)}
    assert found["mean_average_precision"] == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)
    assert found["recall_at_1"] == 0.5


def test_chance_is_what_random_features_give() -> None:
    """Half, a quarter and a quarter of the images are of each class: 0.375 of the pairs agree by chance."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 1, 2]).repeat(200)
    features = [torch.randn(800, 3, generator=generator) for _ in range(2)]
    representation = representation_of(features[0], labels, features[1], labels)
    found = {one.metric: one.value for one in Retrieval(taps=("conv5",)).evaluate(representation)}
    assert mean_share_of_the_class(representation) == pytest.approx(0.375)
    assert found["mean_average_precision"] == pytest.approx(0.375, abs=0.01)
    assert recall_by_chance(representation, 5) == pytest.approx(1 - (0.5**5 / 2 + 0.75**5 / 2))
    for k in (1, 5, 10):
        assert found[f"recall_at_{k}"] == pytest.approx(recall_by_chance(representation, k), abs=0.05)


def test_features_that_are_not_finite_are_refused() -> None:
    """Infinite values of a query are an error in one line, like those of the bank."""
    representation = ideal_representation()
    representation.dataset.test.images[2, 0] = torch.inf  # type: ignore[index]
    with pytest.raises(UserError, match="NaN or infinite"):
        list(Retrieval(taps=("conv5",)).evaluate(representation))
