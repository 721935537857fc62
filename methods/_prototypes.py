"""Prototypes that views are assigned to, and the loss of telling one view's assignment from another (SwAV, DINO)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Panel, augment

from ._contrast import products


class Prototypes(nn.Module):
    """Directions (prototypes, dim), which hold still until so many images have been ``seen``."""

    def __init__(self, dim: int, prototypes: int, held: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(prototypes, dim), dim=1))
        self.held, self.seen = held, 0

    def forward(self, z: Tensor) -> Tensor:
        """Vectors z (N, dim) -> their cosines with the prototypes (N, prototypes)."""
        weight = self.weight if self.seen >= self.held else self.weight.detach()
        return products(F.normalize(z.float(), dim=1), F.normalize(weight, dim=1))

    def get_extra_state(self) -> Tensor:
        """Images seen: a number of Python's, since to branch on a buffer is to wait for the device at each step."""
        return torch.tensor(self.seen)

    def set_extra_state(self, state: Tensor) -> None:
        self.seen = int(state)


@augment.in_full_precision
def swapped(targets: Tensor, logits: Tensor) -> Tensor:
    """Targets (2, N, K) of the first two views, logits (V, N, K) of all -> cross-entropy, a scalar.

    Averaged over images and over the 2 (V - 1) pairs of a target and another view (Caron et al. 2020, equation 2;
    Caron et al. 2021, equation 3).
    """
    views, images = logits.shape[:2]
    chosen = targets.flatten(1) @ logits.flatten(1).T  # (2, V), summed over images; rows of targets sum to 1
    costs = logits.logsumexp(2).mean(1) - chosen / images
    return (costs.sum() - costs.diagonal().sum()) / (2 * (views - 1))


def prototype_panels(first: Tensor, targets: Tensor, second: Tensor, guesses: Tensor) -> list[Panel]:
    """Views of N images with their targets (N, K), other views with what is told from them (N, K), as shares.

    Each view with its likeliest prototype, what its other view says of that one, and the other image that says it most.
    """
    share, prototype = targets.max(1)
    said = guesses[:, prototype]  # of image m about the prototype of image n: (N, N)
    most, other = said.clone().fill_diagonal_(-1).max(0)
    return [
        Panel(
            title="a view and its prototype",
            images=first,
            captions=tuple(f"{k}: {p:.0%}" for k, p in zip(prototype.tolist(), share.tolist(), strict=True)),
        ),
        Panel(
            title="the same, told from another view",
            images=second,
            captions=tuple(f"{p:.0%}" for p in said.diagonal().tolist()),
        ),
        Panel(
            title="the other image likeliest to be of it",
            images=second[other],
            captions=tuple(f"{p:.0%}" for p in most.tolist()),
        ),
    ]
