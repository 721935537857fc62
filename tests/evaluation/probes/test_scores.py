"""Overlap, average precision, CKA and ranks agree with loops and with scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, jaccard_score

from sslbench.bench.data import VOID
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation import probes


def test_overlap_agrees_with_loops_and_with_scikit_learn() -> None:
    """Two pictures, three classes, unknown pixels left out; the mean is over the classes that occur."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (2, 5, 4), generator=generator).to(torch.uint8)
    found = torch.randint(0, 3, (2, 5, 4), generator=generator)
    masks[0, 0] = VOID
    both, either = probes.overlap_counts(found, masks, 4, VOID)
    for picture in range(2):
        for label in range(4):
            pixels = [
                (int(f) == label, int(m) == label)
                for f, m in zip(found[picture].flatten(), masks[picture].flatten(), strict=True)
                if int(m) != VOID
            ]
            assert both[picture, label] == sum(f and m for f, m in pixels)
            assert either[picture, label] == sum(f or m for f, m in pixels)
    known = masks != VOID
    expected = jaccard_score(masks[known].numpy(), found[known].numpy(), average="macro")
    assert float(probes.mean_overlap(both.sum(0).double(), either.sum(0).double())) == pytest.approx(expected)


def test_average_precision_agrees_with_scikit_learn() -> None:
    """Also where scores are equal; a label without a positive has none."""
    generator = torch.Generator().manual_seed(1)
    for values in (3, 1000):
        scores = torch.randint(0, values, (60, 4), generator=generator).float()
        truth = torch.rand(60, 4, generator=generator) < 0.3
        truth[:, 3] = False
        found = probes.average_precision(scores, truth)
        for column in range(3):
            expected = average_precision_score(truth[:, column].numpy(), scores[:, column].numpy())
            assert float(found[column]) == pytest.approx(expected)
        assert found[3].isnan()


def test_average_precision_by_hand() -> None:
    """Right, wrong, right: (1/1 + 2/3) / 2; a ranking upside down of one positive among three: 1/3."""
    scores = torch.tensor([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    truth = torch.tensor([[True, True], [False, False], [True, False]])
    assert probes.average_precision(scores, truth).tolist() == pytest.approx([5 / 6, 1 / 3])
    with pytest.raises(UserError, match="NaN"):
        probes.average_precision(torch.full((3, 1), torch.nan), truth[:, :1])


def test_cka_agrees_with_a_loop() -> None:
    """The ratio of sums over pairs of images, for few and for many images; 1 after a turn and a change of scale."""
    generator = torch.Generator().manual_seed(0)
    for images in (5, 40):
        a = torch.rand(images, 8, generator=generator)
        b = torch.rand(images, 12, generator=generator)
        centred_a, centred_b = (a - a.mean(0)).tolist(), (b - b.mean(0)).tolist()

        def product(one: list[list[float]], other: list[list[float]]) -> float:
            return sum(
                sum(x * y for x, y in zip(one[i], one[j], strict=True))
                * sum(x * y for x, y in zip(other[i], other[j], strict=True))
                for i in range(len(one))
                for j in range(len(one))
            )

        expected = product(centred_a, centred_b) / math.sqrt(
            product(centred_a, centred_a) * product(centred_b, centred_b)
        )
        assert probes.linear_cka(a, b) == pytest.approx(expected, rel=1e-4)
        turn = torch.linalg.qr(torch.rand(8, 8, generator=generator)).Q
        assert probes.linear_cka(a, 3 * a @ turn + 1) == pytest.approx(1, abs=1e-4)


def test_effective_rank_counts_directions() -> None:
    """Features that fill 3 of 10 dimensions alike have rank 3; one direction has rank 1."""
    basis = torch.eye(10)[:3].repeat(20, 1)
    assert probes.effective_rank(basis) == pytest.approx(3, abs=1e-3)
    assert probes.effective_rank(torch.eye(10)[:1].repeat(20, 1)) == pytest.approx(1, abs=1e-3)


def test_spectrum_decay_finds_the_exponent() -> None:
    """Independent features with variances 1, 1/2^a, 1/3^a, ... have alpha a."""
    draws = torch.randn(20_000, 60, generator=torch.Generator().manual_seed(0))
    for alpha in (0.5, 1.5):
        features = draws * torch.arange(1, 61).float() ** (-alpha / 2)
        assert probes.spectrum_decay(features) == pytest.approx(alpha, abs=0.05)
    assert probes.spectrum_decay(torch.ones(5, 3)) == math.inf
