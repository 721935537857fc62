"""Heads of joint-embedding methods (projectors and predictors), and a measure of collapse of what they put out."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(
    *widths: int, norm: bool = True, norm_last: bool = False, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Linear layers with batch norm and an activation between them: (N, widths[0]) -> (N, widths[-1]).

    ``norm_last`` adds a batch norm without weights at the end, as in SimSiam and MoCo v3. A linear layer before a
    batch norm has no bias, since the batch norm would remove it.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=not norm)]
        layers += [nn.BatchNorm1d(outputs)] if norm else []
        layers += [activation()]
    layers += [nn.Linear(widths[-2], widths[-1], bias=not norm_last)]
    layers += [nn.BatchNorm1d(widths[-1], affine=False)] if norm_last else []
    return nn.Sequential(*layers)


@torch.no_grad()
def spread(embeddings: Tensor) -> Tensor:
    """Embeddings (N, dim) -> how much they differ, a scalar: 1 if uniform on the sphere, 0 if all are equal.

    The standard deviation over the batch of the normalised embedding, averaged over dimensions, times sqrt(dim)
    (Chen and He 2021, section 4.1).
    """
    directions = F.normalize(embeddings.float(), dim=1)
    length: float = embeddings.shape[1] ** 0.5
    return directions.std(0).mean() * length
