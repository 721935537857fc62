"""The whole batch where several processes share it: what each of them computed, with gradients back to it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Which process this is; 0 where there is only one."""
    return 0 if alone() else dist.get_rank()


def processes() -> int:
    """How many share the batch."""
    return 1 if alone() else dist.get_world_size()


def alone() -> bool:
    """Whether no other process shares the batch."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def gathered(x: Tensor) -> Tensor:
    """Rows (N, ...) of every process, in the order of their ranks (processes * N, ...); x itself in one process.

    The gradient is the sum of what all processes' losses ask of these rows. With losses that are means over the
    processes' own share, or the whole batch's on each, averaging weights' gradients as data-parallel training does
    then gives the gradient of the whole batch's mean loss. All processes must hold equally many rows.
    """
    return x if alone() else Gathered.apply(x)


class Gathered(torch.autograd.Function):
    """All-gather forward; all-reduce and keep one's own rows backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole[dist.get_rank() * ctx.rows :][: ctx.rows]
