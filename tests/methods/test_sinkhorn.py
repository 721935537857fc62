"""Balanced assignment: Sinkhorn-Knopp, and the queue that supplements small batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslbench.methods._sinkhorn import BalancedCodes, sinkhorn
from tests.builders import balanced_assignment


@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_matches_a_loop(iterations: int) -> None:
    """Columns and rows of the exponentials are scaled alternately to equal sums."""
    torch.manual_seed(0)
    scores = torch.rand(5, 3) * 2 - 1
    want = balanced_assignment(scores.tolist(), 0.2, iterations)
    for row, other in zip(sinkhorn(scores, 0.2, iterations).tolist(), want, strict=True):
        assert row == pytest.approx(other, abs=1e-5)


def test_all_prototypes_get_the_same_share() -> None:
    """Even if one prototype is nearest to all images, each gets B / K of them in the end."""
    torch.manual_seed(0)
    scores = 0.1 * torch.rand(12, 3)
    scores[:, 0] += 1
    scores[5, 2] += 0.5
    Q = sinkhorn(scores, 0.1, 100)
    torch.testing.assert_close(Q.sum(1), torch.ones(12))
    torch.testing.assert_close(Q.sum(0), torch.full((3,), 4.0), atol=1e-3, rtol=0)
    assert Q[:, 2].argmax() == 5


def test_a_small_epsilon_leaves_no_row_empty() -> None:
    """Rows sum to 1 even if exp(scores / epsilon) underflows."""
    torch.manual_seed(0)
    Q = sinkhorn(torch.rand(6, 4) * 2 - 1, 1e-3, 3)
    torch.testing.assert_close(Q.sum(1), torch.ones(6))


def test_views_are_assigned_separately() -> None:
    """Without a queue, first and second views are assigned separately, each in balance."""
    torch.manual_seed(0)
    z, prototypes = F.normalize(torch.randn(8, 5), dim=1), torch.randn(5, 3)
    codes = BalancedCodes(0, 5, 0.1, 3)
    codes.push(z)
    found = codes(z, lambda z: z @ prototypes)
    assert found.shape == (2, 4, 3)
    for view, own in zip(found, z.chunk(2), strict=True):
        torch.testing.assert_close(view, sinkhorn(own @ prototypes, 0.1, 3))


def test_the_queue_takes_part_once_it_is_full() -> None:
    """The latest images are assigned together with the batch, once there are enough to fill the queue."""
    torch.manual_seed(0)
    z, prototypes = F.normalize(torch.randn(3, 8, 5), dim=2), torch.randn(5, 3)
    codes = BalancedCodes(6, 5, 0.1, 3)
    for n in range(3):
        found = codes(z[n], lambda z: z @ prototypes)
        for side, view in enumerate(found):
            own = z[n, 4 * side :][:4]
            last = torch.cat([z[0, 4 * side :][:4], z[1, 4 * side :][:4]])[-6:]
            every = torch.cat([own, last]) if n == 2 else own
            torch.testing.assert_close(view, sinkhorn(every @ prototypes, 0.1, 3)[:4])
        codes.push(z[n])
    assert codes.pushed == 12
