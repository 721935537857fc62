"""Barlow Twins: make the projections of two views agree, and their components independent of each other.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via
Redundancy Reduction", ICML 2021. https://arxiv.org/abs/2103.03230

The loss pulls the cross-correlation matrix of the two views' projections, taken over
the batch, towards the identity. Ones on the diagonal mean that a component does not
depend on the view. Zeros off the diagonal mean that no two components are redundant
(Barlow's principle). This prevents a collapse without negatives, a momentum encoder
or a stop-gradient. The two views differ in how often they are blurred and solarised.

Where we differ: the benchmark's recipe instead of LARS. Runs shorter than the paper's
have a narrower projector, because the matrix would cost more than these encoders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import (
    Batch,
    Encoder,
    Method,
    NonNegative,
    Panel,
    PositiveShare,
    TrainInfo,
    distributed,
    without_autocast,
)

from ._heads import mlp, spread
from ._momentum import run_in_groups
from ._views import BYOL, pair_panels, two_views


class BarlowTwins(Method):
    """Pulls the cross-correlation of two views' projections towards the identity."""

    year = 2021
    kind = "joint embedding"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"dim": 512}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        redundancy: NonNegative = 0.005,
        dim: Annotated[int, Ge(2)] = 8192,
        crop: PositiveShare = 0.08,
    ) -> None:
        super().__init__(encoder, train_info)
        self.redundancy = redundancy
        self.augmentations = tuple(replace(augmentation, crop=crop) for augmentation in BYOL)
        self.f = nn.Sequential(encoder, mlp(encoder.dim, dim, dim, dim))

    def loss(self, batch: Batch) -> Tensor:
        """Squared distance of the matrix from the identity, weighted by lambda off the diagonal (equation 1)."""
        z = self.project(two_views(batch.images, *self.augmentations))
        correlations = cross_correlation(*z.chunk(2))
        diagonal = correlations.diagonal()
        self.logged["correlation"] = diagonal.detach().mean()
        self.logged["spread"] = spread(z)
        return distance_from_identity(correlations, self.redundancy)

    def project(self, views: Tensor) -> Tensor:
        """Views (2 N, 3, S, S) -> z (2 N, dim); batch norm treats the two views separately, as in algorithm 1."""
        return run_in_groups(self.f, views, 2).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, the similarity of their projections, and the cross-correlation matrix."""
        views = two_views(batch.images, *self.augmentations)
        z = self.project(views)
        correlations = cross_correlation(*z.chunk(2))
        S = views.shape[-1]
        corner = F.interpolate(((1 + correlations[:S, :S]) / 2).clamp(0, 1)[None, None], (S, S), mode="nearest")
        matrix = Panel(
            title="cross-correlation of the batch: white 1, grey 0, black -1",
            images=corner.expand(len(batch.images), 3, S, S),
            captions=(f"mean of the diagonal {correlations.diagonal().mean():.2f}",) * len(batch.images),
        )
        return [*pair_panels(views, z), matrix]


@without_autocast
def cross_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Projections of two views (N, dim) -> the correlation over the batch of all pairs of components (dim, dim)."""
    one, other = (F.batch_norm(distributed.gather(z), None, None, training=True) for z in (one, other))
    return one.T @ other / len(one)


def distance_from_identity(matrix: Tensor, redundancy: float) -> Tensor:
    """The sum of (1 - c_ii)^2 on the diagonal plus ``redundancy`` times the sum of c_ij^2 off the diagonal."""
    diagonal = matrix.diagonal()
    off_diagonal = matrix.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off_diagonal
