"""InfoNCE, fewer candidates, and the nearest other image."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.methods._contrast import draw_negatives, answers_in_first_column, info_nce, nearest_panel


def test_info_nce_matches_a_loop() -> None:
    """-log of the right one's share of the exponentials; accuracy and log K - loss are watched."""
    torch.manual_seed(0)
    logits, answers = torch.randn(4, 5) * 2, torch.tensor([2, 0, 4, 2])
    watched: dict[str, torch.Tensor] = {}
    loss = info_nce(logits, answers, watched)
    total, right = 0.0, 0
    for row, answer in zip(logits.tolist(), answers.tolist(), strict=True):
        total -= math.log(math.exp(row[answer]) / sum(math.exp(x) for x in row))
        right += max(row) == row[answer]
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)
    assert watched["accuracy"].item() == pytest.approx(right / 4)
    assert watched["bound"].item() == pytest.approx(math.log(5) - total / 4, abs=1e-5)


def test_what_is_left_out_is_no_candidate() -> None:
    """A score of minus infinity adds nothing to the loss, and each row's bound counts the candidates that it has."""
    logits = torch.tensor([[0.0, 0.0, -torch.inf, 0.0], [0.0, 0.0, 0.0, 0.0]])
    watched: dict[str, torch.Tensor] = {}
    loss = info_nce(logits, torch.tensor([1, 0]), watched)
    assert loss.item() == pytest.approx((math.log(3) + math.log(4)) / 2, rel=1e-5)
    assert watched["bound"].item() == pytest.approx(0, abs=1e-6)


def test_few_keeps_the_right_one_first() -> None:
    """Of each row the right one and so many different others stay; each of these as often as any."""
    torch.manual_seed(0)
    logits = torch.arange(12.0).view(2, 6).repeat(2000, 1)
    answers = torch.tensor([4, 1]).repeat(2000)
    kept, now = draw_negatives(logits, answers, 2)
    assert kept.shape == (4000, 3)
    assert torch.equal(now, answers_in_first_column(kept))
    assert torch.equal(kept[:, 0], logits.gather(1, answers.unsqueeze(1)).squeeze(1))
    assert all(len(set(row)) == 3 for row in kept.tolist())
    shares = torch.bincount(kept[::2, 1:].long().flatten(), minlength=6) / 2000
    assert shares[4] == 0
    assert shares[[0, 1, 2, 3, 5]].tolist() == pytest.approx([0.4] * 5, abs=0.05)


@pytest.mark.parametrize("negatives", [None, 5, 9])
def test_all_stay_where_there_are_no_more(negatives: int | None) -> None:
    """None, or as many as there are, leaves the logits as they are."""
    logits, answers = torch.randn(2, 6), torch.tensor([4, 1])
    kept, now = draw_negatives(logits, answers, negatives)
    assert kept is logits
    assert now is answers


def test_the_nearest_other_image_is_shown() -> None:
    """Never the image itself, whose cosine is 1."""
    points = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    images = torch.arange(3).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    panel = nearest_panel(images, points)
    assert panel.images[:, 0, 0, 0].tolist() == [1, 0, 1]
    assert panel.captions == ("cosine 0.80", "cosine 0.80", "cosine 0.60")
