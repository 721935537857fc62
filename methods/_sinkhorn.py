"""Balanced assignment of a batch to prototypes (Cuturi 2013; Asano, Rupprecht and Vedaldi 2020; Caron et al. 2020).

Balanced means that every prototype is assigned equally often, so that not all images can get the same one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sslbench import distributed, without_autocast

from ._momentum import Queue


class BalancedCodes(nn.Module):
    """Codes, the soft assignments of both views, computed together with those of the last ``size`` images."""

    def __init__(self, size: int, dim: int, epsilon: float, iterations: int) -> None:
        super().__init__()
        self.epsilon, self.iterations, self.pushed = epsilon, iterations, 0
        self.queue = Queue(size, 2 * dim) if size else None  # both views of an image in one row

    @torch.no_grad()
    def forward(self, z: Tensor, prototypes: Callable[[Tensor], Tensor]) -> Tensor:
        """Unit vectors of all first views, then of all second views (2 N, dim) -> codes (2, N, K).

        First and second views are assigned separately, over the batches of all processes. ``prototypes`` maps vectors
        (M, dim) to scores (M, K). The queue takes part once it is full.
        """
        codes = []
        for view, own in enumerate(z.chunk(2)):
            every = distributed.gather(own)
            if self.queue is not None and self.pushed >= len(self.queue.keys):
                every = torch.cat([every, self.queue.keys.chunk(2, dim=1)[view]])
            scores = prototypes(every)
            codes.append(sinkhorn(scores, self.epsilon, self.iterations)[distributed.rank() * len(own) :][: len(own)])
        return torch.stack(codes)

    def push(self, z: Tensor) -> None:
        """Adds the unit vectors of both views (2 N, dim) of all processes to the queue."""
        if self.queue is not None:
            self.queue.push(torch.cat(z.chunk(2), dim=1))
            self.pushed += distributed.world_size() * len(z) // 2

    def get_extra_state(self) -> Tensor:
        """Number of images pushed. It is not a buffer, because branching on one would wait for the GPU."""
        return torch.tensor(self.pushed)

    def set_extra_state(self, state: Tensor) -> None:
        self.pushed = int(state)


@torch.no_grad()
@without_autocast
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Scores (B, K) -> soft assignments (B, K): rows sum to 1, and each of the K prototypes gets about B / K.

    Columns and rows of exp(scores / epsilon) are scaled alternately to equal sums (Caron et al. 2020, equation 3 and
    section 3.1). This is computed with logarithms, so that no row underflows to zero for a small ``epsilon``.
    """
    logs = scores / epsilon
    for _ in range(iterations):
        logs = logs - logs.logsumexp(0)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()
