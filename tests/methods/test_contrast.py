"""InfoNCE, the choice of negatives, and the nearest other image."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.methods._contrast import answers_in_first_column, draw_negatives, info_nce, nearest_panel


def test_info_nce_matches_a_loop() -> None:
    """-log of the matching candidate's share of the exponentials; accuracy and log K - loss are logged."""
    torch.manual_seed(0)
    logits, answers = torch.randn(4, 5) * 2, torch.tensor([2, 0, 4, 2])
    logged: dict[str, torch.Tensor] = {}
    loss = info_nce(logits, answers, logged)
    total, right = 0.0, 0
    for row, answer in zip(logits.tolist(), answers.tolist(), strict=True):
        total -= math.log(math.exp(row[answer]) / sum(math.exp(x) for x in row))
        right += max(row) == row[answer]
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)
    assert logged["accuracy"].item() == pytest.approx(right / 4)
    assert logged["bound"].item() == pytest.approx(math.log(5) - total / 4, abs=1e-5)


def test_minus_infinity_is_no_candidate() -> None:
    """A logit of minus infinity adds nothing to the loss, and the bound counts only the other candidates of a row."""
    logits = torch.tensor([[0.0, 0.0, -torch.inf, 0.0], [0.0, 0.0, 0.0, 0.0]])
    logged: dict[str, torch.Tensor] = {}
    loss = info_nce(logits, torch.tensor([1, 0]), logged)
    assert loss.item() == pytest.approx((math.log(3) + math.log(4)) / 2, rel=1e-5)
    assert logged["bound"].item() == pytest.approx(0, abs=1e-6)


def test_the_matching_candidate_is_kept_first() -> None:
    """Each row keeps its matching candidate and ``negatives`` different others, all with the same probability."""
    torch.manual_seed(0)
    logits = torch.arange(12.0).view(2, 6).repeat(2000, 1)
    answers = torch.tensor([4, 1]).repeat(2000)
    kept, columns = draw_negatives(logits, answers, 2)
    assert kept.shape == (4000, 3)
    assert torch.equal(columns, answers_in_first_column(kept))
    assert torch.equal(kept[:, 0], logits.gather(1, answers.unsqueeze(1)).squeeze(1))
    assert all(len(set(row)) == 3 for row in kept.tolist())
    shares = torch.bincount(kept[::2, 1:].long().flatten(), minlength=6) / 2000
    assert shares[4] == 0
    assert shares[[0, 1, 2, 3, 5]].tolist() == pytest.approx([0.4] * 5, abs=0.05)


@pytest.mark.parametrize("negatives", [None, 5, 9])
def test_all_are_kept_if_there_are_no_more(negatives: int | None) -> None:
    """None, or a number that is not below that of the others, leaves the logits unchanged."""
    logits, answers = torch.randn(2, 6), torch.tensor([4, 1])
    kept, columns = draw_negatives(logits, answers, negatives)
    assert kept is logits
    assert columns is answers


def test_the_nearest_image_is_another_one() -> None:
    """The image itself, whose cosine is 1, is never its own nearest image."""
    points = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    images = torch.arange(3).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    panel = nearest_panel(images, points)
    assert panel.images[:, 0, 0, 0].tolist() == [1, 0, 1]
    assert panel.captions == ("cosine 0.80", "cosine 0.80", "cosine 0.60")
