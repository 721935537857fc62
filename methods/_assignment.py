"""The Hungarian method as an operation of its own, so that tensors without values can pass through it."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, library


@library.custom_op("sslbench::assigned", mutates_args=())
def assigned(costs: Tensor, due: Tensor) -> Tensor:
    """Costs (N, N) -> for each row a column of its own (N,), so that their costs sum lowest; solved on the processor.

    Where ``due``, a bool scalar, is false row n keeps column n.
    """
    if not due:
        return torch.arange(len(costs), device=costs.device)
    return torch.from_numpy(linear_sum_assignment(costs.cpu().numpy())[1]).to(costs.device)


@assigned.register_fake
def _(costs: Tensor, due: Tensor) -> Tensor:
    return torch.empty(len(costs), dtype=torch.long, device=costs.device)
