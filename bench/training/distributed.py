"""Data-parallel training of one encoder by several processes, as torchrun starts them.

All processes build the same weights from the same seed. Each computes gradients for its shard of every batch, and all
apply the mean of the gradients. A method that compares images with each other gathers what it needs from the other
processes. Only the first process writes files and runs protocols.
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

TORCHRUN_NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")
TIMEOUT = timedelta(days=1)  # the other processes wait while the first one runs protocols


def world_size() -> int:
    """The number of processes that train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def process_group(batch_sizes: Iterable[int], device: str) -> Iterator[None]:
    """A context within which the processes that torchrun started can communicate; without torchrun it does nothing.

    Raises UserError where a batch cannot be divided evenly among the processes, with two images or more for each.
    """
    processes = process_count()
    if processes == 1:
        yield
        return
    for size in set(batch_sizes):
        if size % processes or size < 2 * processes:
            raise UserError(
                f"recipe.batch_size = {size}: {processes} processes cannot share it evenly, two images or more each; "
                f"choose a multiple of {processes}."
            )
    cuda = torch.cuda.is_available() and device != "cpu"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def process_count() -> int:
    """The number of processes that torchrun started; 1 without it. Raises UserError for variables left over from it."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 1
    given = {name: os.environ.get(name, "") for name in TORCHRUN_NUMBERS}
    wrong = [name for name, value in given.items() if not value.isdecimal()]
    wrong += [] if os.environ.get("MASTER_ADDR") else ["MASTER_ADDR"]
    if wrong:
        raise UserError(
            f"WORLD_SIZE={given['WORLD_SIZE']} is set in the environment, and {', '.join(wrong)} as torchrun sets it "
            "is not; start with torchrun, or unset WORLD_SIZE."
        )
    return int(given["WORLD_SIZE"])


def shard(indices: Tensor) -> Tensor:
    """This process's part (N / processes,) of a batch's indices (N,)."""
    return indices.chunk(world_size())[rank()]


def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean over processes; gradients flow back to all of them."""
    if world_size() == 1:
        return x
    mean: Tensor = AllReduceMean.apply(x)
    return mean


class AllReduceMean(torch.autograd.Function):
    """All-reduce in the forward pass, and all-reduce of the gradients in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        mean: Tensor = AllReduceMean.apply(gradients[0])
        return mean


def gather(x: Tensor) -> Tensor:
    """Concatenates the rows (N, ...) of all processes by rank: (processes * N, ...). A single process gets x itself.

    All processes must have the same number of rows. A row's gradient is the sum of its gradients from all processes'
    losses. So if each process's loss is a mean over its shard, or the loss of the whole batch, then the mean of the
    processes' weight gradients is the gradient of the whole batch's mean loss.
    """
    if world_size() == 1:
        return x
    rows: Tensor = Gather.apply(x)
    return rows


class Gather(torch.autograd.Function):
    """All-gather in the forward pass; all-reduce, and selection of this process's rows, in the backward pass."""

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
    """Replaces the gradients by their means over processes, in one all-reduce."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() > 1 and gradients:
        mean = all_reduce_mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def synchronised_batch_norm(network: nn.Module) -> Iterator[None]:
    """A context within which batch norms in training mode use the statistics of all processes' shards together."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if world_size() > 1 else []
    for norm in norms:
        norm.__dict__["forward"] = partial(batch_norm_over_processes, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def batch_norm_over_processes(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Applies a batch norm to x (N, C, ...) with mean and variance over the shards of all processes.

    torch.nn.SyncBatchNorm does the same, but on GPUs only.
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
