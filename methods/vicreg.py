"""VICReg: make two views' embeddings equal, while every dimension varies and no two dimensions are correlated.

Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization
for Self-Supervised Learning", ICLR 2022. https://arxiv.org/abs/2105.04906

The invariance term makes both embeddings of an image equal. The variance term keeps
the standard deviation of each dimension over the batch above 1, which prevents a
collapse to one point. The covariance term decorrelates the dimensions, so that they
are not redundant. The last two terms are computed for each view separately: there
is no normalisation and there are no negatives.

Where the paper is inconsistent we follow algorithm 1: invariance is a mean over
dimensions (equation 5 sums over them), and the variance terms of both views are
added (the authors' code averages them).

Where we differ: the recipe is the benchmark's instead of LARS. Shorter runs have a
narrower expander, since the paper's would cost more than these encoders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, NonNegative, Panel, PositiveShare, TrainInfo, distributed, without_autocast

from ._heads import mlp, spread
from ._momentum import run_in_groups
from ._views import VICREG, pair_panels, two_views


class VICReg(Method):
    """The weighted sum of the invariance, variance and covariance terms of two views' embeddings."""

    year = 2022
    kind = "joint embedding"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"dim": 512}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        invariance: NonNegative = 25.0,
        variance: NonNegative = 25.0,
        covariance: NonNegative = 1.0,
        dim: Annotated[int, Ge(2)] = 8192,
        crop: PositiveShare = 0.08,  # the smallest crop's share of the area
    ) -> None:
        super().__init__(encoder, train_info)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.augmentation = replace(VICREG, crop=crop)
        self.branch = nn.Sequential(encoder, mlp(encoder.dim, dim, dim, dim))

    def loss(self, batch: Batch) -> Tensor:
        """lambda s + mu (v + v') + nu (c + c'), with the three terms of algorithm 1."""
        z = self.embed(two_views(batch.images, self.augmentation))
        one, other = (distributed.gather(part) for part in z.chunk(2))
        invariance = F.mse_loss(one, other)
        variance = variance_term(one) + variance_term(other)
        covariance = covariance_term(one) + covariance_term(other)
        terms = {"invariance": invariance, "variance": variance, "covariance": covariance}
        self.logged |= {name: term.detach() for name, term in terms.items()} | {"spread": spread(z)}
        return self.invariance * invariance + self.variance * variance + self.covariance * covariance

    def embed(self, views: Tensor) -> Tensor:
        """Views (2 N, 3, S, S) -> z (2 N, dim); first and second views are separate batches, as in algorithm 1."""
        return run_in_groups(self.branch, views, 2).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, how similar their embeddings are, and the nearest view of another image."""
        views = two_views(batch.images, self.augmentation)
        return pair_panels(views, self.embed(views))


def variance_term(z: Tensor) -> Tensor:
    """Embeddings (N, dim) -> by how much a dimension's standard deviation is below 1, on average (equation 1)."""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


@without_autocast
def covariance_term(z: Tensor) -> Tensor:
    """Embeddings (N, dim) -> the sum of squared covariances off the diagonal, divided by dim (equations 3 and 4)."""
    centred = z - z.mean(0)
    covariances = centred.T @ centred / (len(z) - 1)
    return (covariances.square().sum() - covariances.diagonal().square().sum()) / z.shape[1]
