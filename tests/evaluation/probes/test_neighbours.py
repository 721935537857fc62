"""Nearest neighbours and their votes, against loops written from the paper and against lightly."""

import pytest
import torch

from sslbench.bench.evaluation.probes import knn_predictions, nearest_neighbours, neighbours
from tests.builders import overlapping_classes

LIGHTLY_PREDICTIONS = {
    (200, 0.07): "01234042341144401134214342113211234012340223421234044341123203234021043130001334",
    (20, 0.5): "01234042342124401234212340113421234012340223421234013340123201232021043132002234",
    (1, 0.1): "01234040041244403134214332113214234212340200420234044341123233034021342140001334",
}
"""The classes that lightly 1.6.0's ``knn_predict`` gives to the images of the test below, by k and temperature."""


def test_four_points_by_hand():
    """Neighbours at 10 (A), 12 (B), 15 (B) and 180 degrees (A): k = 1 says A, k = 3 says B, and a cold T says A."""
    angles = torch.deg2rad(torch.tensor([10.0, 12.0, 15.0, 180.0]))
    bank = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [5.0], [0.1], [2.0]])
    found = knn_predictions(
        bank, torch.tensor([0, 1, 1, 0]), torch.tensor([[2.0, 0.0]]), 2, k=(1, 3, 9), temperature=(0.07, 1e-3)
    )
    assert {key: int(v) for key, v in found.items()} == {
        (1, 0.07): 0, (1, 1e-3): 0, (3, 0.07): 1, (3, 1e-3): 0, (9, 0.07): 1, (9, 1e-3): 0,
    }  # fmt: skip


def test_knn_agrees_with_a_loop():
    """Every prediction equals Wu et al.'s rule, written as a loop in float64."""
    X, y = overlapping_classes(300, 8, apart=0.5)
    test, _ = overlapping_classes(40, 8, seed=1)
    found = knn_predictions(X, y, test, 4, k=(1, 10, 200), temperature=(0.07, 1.0))
    for (k, t), predictions in found.items():
        for query, predicted in zip(test, predictions.tolist(), strict=True):
            s = torch.nn.functional.cosine_similarity(query.double()[None], X.double())
            votes = [0.0] * 4
            for i in s.argsort(descending=True)[:k].tolist():
                votes[int(y[i])] += float(torch.exp((s[i] - 1) / t))
            assert predicted == votes.index(max(votes))


@pytest.mark.parametrize(("k", "temperature"), LIGHTLY_PREDICTIONS)
def test_knn_agrees_with_lightly_image_by_image(k, temperature):
    """On the same features, each of 80 images gets the class that lightly gave it, whether right or wrong."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 5
    centres = torch.randn(5, 16, generator=generator)
    bank = centres[labels] + 2 * torch.randn(300, 16, generator=generator)
    queries = centres[torch.arange(80) % 5] + 2 * torch.randn(80, 16, generator=generator)
    ours = knn_predictions(bank, labels, queries, 5, k=(k,), temperature=(temperature,))[k, temperature]
    assert "".join(map(str, ours.tolist())) == LIGHTLY_PREDICTIONS[k, temperature]


def test_knn_survives_a_bank_smaller_than_k_and_zero_vectors():
    """k is capped at the size of the bank, and an all-zero image gets a class and not NaN."""
    found = knn_predictions(
        torch.zeros(3, 4), torch.tensor([0, 1, 1]), torch.zeros(2, 4), 2, k=(200,), temperature=(1e-3,)
    )
    assert found[200, 1e-3].tolist() == [1, 1]


def test_a_bank_in_tiles_gives_the_same_neighbours(monkeypatch):
    """A bank of more than one tile, without a normalised copy, gives the exact neighbours."""
    bank, queries = torch.randn(70000, 4), torch.randn(5, 4)
    monkeypatch.setattr(neighbours, "COPY_BYTES", 0)
    ((s, i),) = nearest_neighbours(bank, queries, 20, 256)
    exact = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(bank).T
    torch.testing.assert_close(s, exact.topk(20).values)
    torch.testing.assert_close(exact.gather(1, i), s)


@pytest.mark.parametrize("k", [1, 7, 24, 97, 98])
def test_grouped_topk_equals_topk(k):
    """It equals torch.topk with and without groups, with remaining columns, with k = N, and with ties."""
    scores = torch.randn(6, 98, generator=torch.Generator().manual_seed(0))
    scores[0, 3] = scores[0, 90] = 9.0
    s, i = neighbours.grouped_topk(scores, k)
    torch.testing.assert_close(s, scores.topk(k).values, rtol=0, atol=0)
    torch.testing.assert_close(scores.gather(1, i), s, rtol=0, atol=0)
    assert all(len(set(row)) == k for row in i.tolist())
