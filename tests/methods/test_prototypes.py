"""Prototypes: how long they stay fixed, and the loss of predicting one view's assignment from another."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslbench.methods._prototypes import Prototypes, prototype_panels, swapped_prediction_loss


def test_scores_are_cosines() -> None:
    """This holds for embeddings and prototypes of any length."""
    torch.manual_seed(0)
    prototypes, z = Prototypes(3, 4, 0), torch.randn(2, 3)
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(4))
    with torch.no_grad():
        prototypes.weight.mul_(3)
    for row, one in zip(prototypes(z).tolist(), z, strict=True):
        want = [F.cosine_similarity(one, prototype, dim=0).item() for prototype in prototypes.weight]
        assert row == pytest.approx(want, abs=1e-6)


def test_prototypes_are_fixed_at_first() -> None:
    """Until enough images have been seen only the embeddings learn; the count is saved with the weights."""
    prototypes, z = Prototypes(3, 4, 10), torch.randn(2, 3, requires_grad=True)
    prototypes(z).sum().backward()
    assert z.grad is not None
    assert prototypes.weight.grad is None
    prototypes.seen = 10
    again = Prototypes(3, 4, 10)
    again.load_state_dict(prototypes.state_dict())
    again(z).sum().backward()
    assert again.weight.grad is not None


@pytest.mark.parametrize("views", [2, 4])
def test_the_loss_matches_a_loop(views: int) -> None:
    """-sum q log p of each target with every other view, averaged over images and pairs."""
    torch.manual_seed(0)
    targets, logits = torch.randn(2, 3, 5).softmax(2), torch.randn(views, 3, 5)
    total, pairs = 0.0, 0
    for t, target in enumerate(targets.tolist()):
        for v, view in enumerate(logits.tolist()):
            if v == t:
                continue
            pairs += 1
            for q, scores in zip(target, view, strict=True):
                exps = [math.exp(score) for score in scores]
                total -= sum(share * math.log(e / sum(exps)) for share, e in zip(q, exps, strict=True)) / 3
    assert pairs == 2 * (views - 1)
    assert swapped_prediction_loss(targets, logits).item() == pytest.approx(total / pairs, rel=1e-5)


def test_a_view_is_shown_with_its_prototype() -> None:
    """The panels show the most probable prototype, its prediction from the other view, and the best other image."""
    first, second = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)
    targets = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    guesses = torch.tensor([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    one, second_panel, other = prototype_panels(first, targets, second, guesses)
    assert one.captions == ("0: 90%", "1: 80%", "0: 60%")
    assert second_panel.captions == ("70%", "40%", "20%")
    assert torch.equal(other.images, second[[1, 2, 0]])
    assert other.captions == ("60%", "80%", "70%")
