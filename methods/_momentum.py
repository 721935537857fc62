"""Parts that methods with a momentum teacher share: the teacher, the queue of keys, batch norm in groups."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import distributed


def teacher_of(student: nn.Module) -> nn.Module:
    """A copy that no gradient reaches."""
    return deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """theta_k <- m theta_k + (1 - m) theta_q (He et al. 2020, equation 2)."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


class Queue(nn.Module):
    """The last ``size`` keys, first in first out: unit vectors (size, dim)."""

    keys: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Keys (N, dim) of every process replace the oldest."""
        keys, size = distributed.gather(keys), len(self.keys)
        places = (self.place + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places[-size:]] = keys[-size:].to(self.keys.dtype)
        self.place.copy_((self.place + len(keys)) % size)


def in_groups(network: nn.Module, views: Tensor, groups: int) -> Tensor:
    """Runs ``groups`` parts of a batch (N, ...) each by itself, as on so many GPUs, with its own batch statistics."""
    return torch.cat([network(part) for part in views.chunk(groups)])


def in_shuffled_groups(network: nn.Module, views: Tensor, groups: int) -> Tensor:
    """The same with the views' order shuffled, among all processes, and put back.

    So no query shares its key's batch statistics (He et al. 2020, section 3.3).
    """
    every = distributed.gather(views)
    order = distributed.gather(torch.randperm(len(every), device=views.device).unsqueeze(0))[0]  # the first process's
    mine = order.chunk(distributed.world_size())[distributed.rank()]
    return distributed.gather(in_groups(network, every[mine], groups))[order.argsort()].chunk(distributed.world_size())[
        distributed.rank()
    ]


def risen(base: float, progress: float) -> float:
    """A momentum that rises from ``base`` at the start of a run to 1 at its end along a cosine (Grill et al. 2020)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
