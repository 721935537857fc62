"""The Hungarian method as a PyTorch operator, so that it also runs on fake tensors, which hold no values."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, library


@library.custom_op("sslbench::optimal_assignment", mutates_args=())
def optimal_assignment(costs: Tensor, due: Tensor) -> Tensor:
    """Costs (N, N) -> for each row a different column (N,), at the smallest total cost; computed on the CPU.

    If ``due``, a bool scalar, is false, nothing is computed and row n gets column n.
    """
    if not due:
        return torch.arange(len(costs), device=costs.device)
    return torch.from_numpy(linear_sum_assignment(costs.cpu().numpy())[1]).to(costs.device)


@optimal_assignment.register_fake
def _(costs: Tensor, due: Tensor) -> Tensor:
    return torch.empty(len(costs), dtype=torch.long, device=costs.device)
