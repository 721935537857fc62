"""Several processes that train one encoder, as torchrun starts them.

All build the same weights from the same seed. Each takes its share of every batch, then all go on with the mean of
their gradients; a method that compares images gathers what it needs of the others. The first alone writes and probes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError

WAIT = timedelta(days=1)  # the others wait for the first while it probes


def world_size() -> int:
    """How many processes train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def process_group(batch_sizes: Iterable[int], device: str) -> Iterator[None]:
    """Meets the processes that torchrun started along with this one, if any, for as long as the context lasts.

    Raises UserError where a batch cannot be shared out evenly.
    """
    together = int(os.environ.get("WORLD_SIZE", "1"))
    if together == 1:
        yield
        return
    for size in set(batch_sizes):
        if size % together or size < 2 * together:
            raise UserError(
                f"recipe.batch_size = {size}: {together} processes cannot share it evenly, two images or more each; "
                f"choose a multiple of {together}."
            )
    cuda = torch.cuda.is_available() and device != "cpu"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(indices: Tensor) -> Tensor:
    """One's own part of a batch's indices (N,)."""
    return indices.chunk(world_size())[rank()]


def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean over processes, with gradients back to all of them."""
    return x if world_size() == 1 else AllReduceMean.apply(x)


class AllReduceMean(torch.autograd.Function):
    """All-reduce forward, and of what all processes' losses ask backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return AllReduceMean.apply(gradients[0])


def gather(x: Tensor) -> Tensor:
    """Rows (N, ...) of every process, in the order of their ranks (processes * N, ...); x itself in one process.

    The gradient is the sum of what all processes' losses ask of these rows. With losses that are means over the
    processes' own share, or the whole batch's on each, averaging weights' gradients as data-parallel training does
    then gives the gradient of the whole batch's mean loss. All processes must hold equally many rows.
    """
    return x if world_size() == 1 else Gather.apply(x)


class Gather(torch.autograd.Function):
    """All-gather forward; all-reduce and keep one's own rows backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole[rank() * ctx.rows :][: ctx.rows]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces the gradients by their means over processes, in one exchange."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() > 1 and gradients:
        mean = all_reduce_mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def shared_batch_norm(network: nn.Module) -> Iterator[None]:
    """Within the context batch norms in training mode see the batches of all processes as one."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if world_size() > 1 else []
    for norm in norms:
        norm.__dict__["forward"] = partial(normalised, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def normalised(norm: _BatchNorm, x: Tensor) -> Tensor:
    """What a batch norm makes of x (N, C, ...) with mean and variance over all processes.

    torch.nn.SyncBatchNorm does the same on GPUs alone.
    """
    if not norm.training:
        return type(norm).forward(norm, x)
    dims = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = all_reduce_mean(values.mean(dims))
    centred = values - mean.view(shape)
    variance = all_reduce_mean(centred.square().mean(dims))
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    if norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None:
        n = world_size() * x.numel() / x.shape[1]
        norm.running_mean.lerp_(mean.detach(), norm.momentum)
        norm.running_var.lerp_(variance.detach() * n / (n - 1), norm.momentum)
        norm.get_buffer("num_batches_tracked").add_(1)
    return y.to(x.dtype)
