"""Balanced assignment of a batch to prototypes (Cuturi 2013; Asano, Rupprecht and Vedaldi 2020; Caron et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sslbench import augment, distributed

from ._momentum import Queue


class Codes(nn.Module):
    """What both views of a batch's images are assigned to, along with the last ``size`` images before it."""

    def __init__(self, size: int, dim: int, epsilon: float, iterations: int) -> None:
        super().__init__()
        self.epsilon, self.iterations, self.held = epsilon, iterations, 0
        self.queue = Queue(size, 2 * dim) if size else None  # an image's two views side by side

    @torch.no_grad()
    def forward(self, z: Tensor, prototypes: Callable[[Tensor], Tensor]) -> Tensor:
        """First views' unit vectors, then the second ones' (2 N, dim), scored by the prototypes -> codes (2, N, K).

        Each view is assigned by itself, the batches of all processes together, with the queue once that is full.
        """
        found = []
        for view, own in enumerate(z.chunk(2)):
            every = distributed.gather(own)
            before = self.queue.keys.chunk(2, dim=1)[view] if self.queue and self.held >= len(self.queue.keys) else None
            scores = prototypes(every if before is None else torch.cat([every, before]))
            found.append(sinkhorn(scores, self.epsilon, self.iterations)[distributed.rank() * len(own) :][: len(own)])
        return torch.stack(found)

    def push(self, z: Tensor) -> None:
        """Both views' unit vectors (2 N, dim) of every process enter the queue."""
        if self.queue is not None:
            self.queue.push(torch.cat(z.chunk(2), dim=1))
            self.held += distributed.world_size() * len(z) // 2

    def get_extra_state(self) -> Tensor:
        """Images pushed: a number of Python's, as the prototypes' is."""
        return torch.tensor(self.held)

    def set_extra_state(self, state: Tensor) -> None:
        self.held = int(state)


@torch.no_grad()
@augment.in_full_precision
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Scores (B, K) -> soft assignments (B, K): rows sum to 1, and each of the K prototypes gets about B / K.

    exp(scores / epsilon), its columns and its rows brought to equal sums by turns (Caron et al. 2020, equation 3 and
    section 3.1); in logarithms, so that a small ``epsilon`` leaves no row empty.
    """
    logs = scores / epsilon
    for _ in range(iterations):
        logs = logs - logs.logsumexp(0)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()
