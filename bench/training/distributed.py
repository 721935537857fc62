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
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError

if TYPE_CHECKING:
    from ..planning.plan import Plan

WAIT = timedelta(days=1)  # the others wait for the first while it probes


def count() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 where there is only one."""
    return dist.get_rank() if count() > 1 else 0


@contextmanager
def joined(plan: Plan) -> Iterator[None]:
    """Meets the processes that torchrun started along with this one, if any, for as long as the context lasts.

    Raises UserError where a batch cannot be shared out evenly.
    """
    together = int(os.environ.get("WORLD_SIZE", "1"))
    if together == 1:
        yield
        return
    for size in {job.recipe.batch_size for job in plan.jobs}:
        if size % together or size < 2 * together:
            raise UserError(
                f"recipe.batch_size = {size}: {together} processes cannot share it evenly, two images or more each; "
                f"choose a multiple of {together}."
            )
    cuda = torch.cuda.is_available() and plan.request.device != "cpu"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(indices: Tensor) -> Tensor:
    """One's own part of a batch's indices (N,)."""
    return indices.chunk(count())[rank()]


def averaged(x: Tensor) -> Tensor:
    """The mean over processes, with gradients back to all of them."""
    return x if count() == 1 else Averaged.apply(x)


class Averaged(torch.autograd.Function):
    """All-reduce forward, and of what all processes' losses ask backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / count()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return Averaged.apply(gradients[0])


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces the gradients by their means over processes, in one exchange."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if count() > 1 and gradients:
        mean = averaged(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def shared_batch_norm(network: nn.Module) -> Iterator[None]:
    """Within the context batch norms in training mode see the batches of all processes as one."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if count() > 1 else []
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
    mean = averaged(values.mean(dims))
    centred = values - mean.view(shape)
    variance = averaged(centred.square().mean(dims))
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    if norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None:
        n = count() * x.numel() / x.shape[1]
        norm.running_mean.lerp_(mean.detach(), norm.momentum)
        norm.running_var.lerp_(variance.detach() * n / (n - 1), norm.momentum)
        norm.get_buffer("num_batches_tracked").add_(1)
    return y.to(x.dtype)
