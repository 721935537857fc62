"""What methods with a momentum teacher share: the teacher, the queue of its keys, and batch norm in groups."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import distributed


def teacher_of(student: nn.Module) -> nn.Module:
    """A copy of the student whose weights get no gradient."""
    return deepcopy(student).requires_grad_(False)


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """theta_k <- m theta_k + (1 - m) theta_q, in place (He et al. 2020, equation 2)."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


class Queue(nn.Module):
    """The newest ``size`` keys, first in first out: unit vectors (size, dim), random ones at first."""

    keys: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replaces the oldest keys by the keys (N, dim) of every process."""
        keys, size = distributed.gather(keys), len(self.keys)
        places = (self.place + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places[-size:]] = keys[-size:].to(self.keys.dtype)
        self.place.copy_((self.place + len(keys)) % size)


def run_in_groups(network: nn.Module, views: Tensor, groups: int) -> Tensor:
    """Runs a batch (N, ...) as ``groups`` separate parts, each with its own batch statistics, as if on as many GPUs."""
    return torch.cat([network(part) for part in views.chunk(groups)])


def run_in_shuffled_groups(network: nn.Module, views: Tensor, groups: int) -> Tensor:
    """Like ``run_in_groups``, with the views shuffled among all processes first and put back in order afterwards.

    A query and its key then have different batch statistics, so these cannot give the pair away (He et al. 2020,
    section 3.3).
    """
    rank, world_size = distributed.rank(), distributed.world_size()
    every = distributed.gather(views)
    order = distributed.gather(torch.randperm(len(every), device=views.device).unsqueeze(0))[0]  # the first process's
    mine = order.chunk(world_size)[rank]
    outputs = distributed.gather(run_in_groups(network, every[mine], groups))
    return outputs[order.argsort()].chunk(world_size)[rank]


def cosine_momentum(base: float, progress: float) -> float:
    """Momentum at ``progress`` (0 to 1) of a run: it rises from ``base`` to 1 along a cosine (Grill et al. 2020)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
