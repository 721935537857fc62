"""Heads that joint-embedding methods share: projectors and predictors, and how far their outputs are spread."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(*widths: int, norm: bool = True, norm_last: bool = False, between: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers from width to width, batch norm and ReLU between them: (N, widths[0]) -> (N, widths[-1]).

    ``norm_last`` ends it with a batch norm that has no weights, as in SimSiam and MoCo v3. A bias that a batch norm
    would take away again is left out.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=not norm)]
        layers += [nn.BatchNorm1d(outputs)] if norm else []
        layers += [between()]
    layers += [nn.Linear(widths[-2], widths[-1], bias=not norm_last)]
    layers += [nn.BatchNorm1d(widths[-1], affine=False)] if norm_last else []
    return nn.Sequential(*layers)


@torch.no_grad()
def spread(embeddings: Tensor) -> Tensor:
    """Embeddings (N, dim) -> how far they lie apart, a scalar: 1 where uniform on the sphere, 0 where all are alike.

    The standard deviation over the batch of the normalised embedding, averaged over dimensions, times sqrt(dim)
    (Chen and He 2021, section 4.1).
    """
    directions = F.normalize(embeddings.float(), dim=1)
    return directions.std(0).mean() * embeddings.shape[1] ** 0.5
