"""Prototypes to which views are assigned, and the loss of predicting one view's assignment from another view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Panel, without_autocast

from ._contrast import pairwise_products


class Prototypes(nn.Module):
    """Learnable directions (prototypes, dim) that stay fixed until ``frozen_images`` images have been seen."""

    def __init__(self, dim: int, prototypes: int, frozen_images: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(prototypes, dim), dim=1))
        self.frozen_images, self.seen = frozen_images, 0

    def forward(self, z: Tensor) -> Tensor:
        """Vectors z (N, dim) -> their cosines with the prototypes (N, prototypes)."""
        weight = self.weight if self.seen >= self.frozen_images else self.weight.detach()
        return pairwise_products(F.normalize(z.float(), dim=1), F.normalize(weight, dim=1))

    def get_extra_state(self) -> Tensor:
        """Number of images seen. It is not a buffer, because branching on one would wait for the GPU."""
        return torch.tensor(self.seen)

    def set_extra_state(self, state: Tensor) -> None:
        self.seen = int(state)


@without_autocast
def swapped_prediction_loss(targets: Tensor, logits: Tensor) -> Tensor:
    """Targets (2, N, K) of the first two views and logits (V, N, K) of all views -> cross-entropy, a scalar.

    It is averaged over images and over the 2 (V - 1) pairs of a target and a different view (Caron et al. 2020,
    equation 2; Caron et al. 2021, equation 3).
    """
    views, images = logits.shape[:2]
    agreement = targets.flatten(1) @ logits.flatten(1).T  # (2, V), summed over images; each image's targets sum to 1
    costs = logits.logsumexp(2).mean(1) - agreement / images
    return (costs.sum() - costs.diagonal().sum()) / (2 * (views - 1))


def prototype_panels(first: Tensor, targets: Tensor, second: Tensor, predictions: Tensor) -> list[Panel]:
    """Three panels of N images, from targets (N, K) of first views and predictions (N, K) of second views.

    First views with their likeliest prototype, second views with that prototype's predicted probability, and for each
    image the view of another image that is predicted to have this prototype with the highest probability.
    """
    probability, prototype = targets.max(1)
    predicted = predictions[:, prototype]  # (N, N): for the second view of image m, the prototype of image n
    highest, other = predicted.clone().fill_diagonal_(-1).max(0)
    return [
        Panel(
            title="first view: prototype and its probability",
            images=first,
            captions=tuple(f"{k}: {p:.0%}" for k, p in zip(prototype.tolist(), probability.tolist(), strict=True)),
        ),
        Panel(
            title="second view: predicted probability of it",
            images=second,
            captions=tuple(f"{p:.0%}" for p in predicted.diagonal().tolist()),
        ),
        Panel(
            title="other image with the highest probability",
            images=second[other],
            captions=tuple(f"{p:.0%}" for p in highest.tolist()),
        ),
    ]
