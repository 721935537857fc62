"""VICReg: make two views' embeddings equal, while every number varies and no two vary together.

Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization
for Self-Supervised Learning", ICLR 2022. https://arxiv.org/abs/2105.04906

Invariance draws the two embeddings together. Variance keeps each number's
standard deviation over the batch above 1, so that they cannot all be the same;
covariance drives the numbers apart from each other, so that they cannot all say
the same. The last two look at each view alone: no normalisation, no negatives.

Where the paper is of two minds we take algorithm 1: invariance is a mean over
the numbers too (equation 5 sums them), and variance adds both views (the
authors' code halves the sum).

Where we differ: the benchmark's recipe instead of LARS. Shorter runs narrow the
expander, whose matrix would cost more than these encoders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, distributed, require

from ._heads import mlp, spread
from ._momentum import in_groups
from ._views import VICREG, pair_panels, two_views


class VICReg(Method):
    """Weighs invariance, variance and covariance of two views' embeddings."""

    checkpoints: ClassVar = {
        "rn50": {
            "url": "https://dl.fbaipublicfiles.com/vicreg/resnet50.pth",
            "licence": "MIT",
            "linear": 0.732,
            "source": "https://github.com/facebookresearch/vicreg",
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_vicreg_2023-09-11_10-53-08/pretrain/version_0/checkpoints/"
                "epoch%3D99-step%3D500400.ckpt"
            ),
            "linear": 0.63,
            "knn": 0.463,
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"dim": 512}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        dim: int = 8192,
        crop: float = 0.08,
    ) -> None:
        super().__init__(encoder, facts)
        for name, weight in {"invariance": invariance, "variance": variance, "covariance": covariance}.items():
            require(weight >= 0, f"vicreg.{name}", weight, "0 or more")
        require(dim >= 2, "vicreg.dim", dim, "at least 2")
        require(0 < crop <= 1, "vicreg.crop", crop, "a share of the area, above 0 to 1")
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.look = replace(VICREG, crop=crop)
        self.branch = nn.Sequential(encoder, mlp(encoder.dim, dim, dim, dim))

    def loss(self, batch: Batch) -> Tensor:
        """lambda s + mu (v + v') + nu (c + c'), with the three terms of algorithm 1."""
        z = self.embeddings(two_views(batch.images, self.look))
        one, other = (distributed.gather(part) for part in z.chunk(2))
        invariance = F.mse_loss(one, other)
        variance = shortfall(one) + shortfall(other)
        covariance = redundancy(one) + redundancy(other)
        terms = {"invariance": invariance, "variance": variance, "covariance": covariance}
        self.logged |= {name: term.detach() for name, term in terms.items()} | {"spread": spread(z)}
        return self.invariance * invariance + self.variance * variance + self.covariance * covariance

    def embeddings(self, views: Tensor) -> Tensor:
        """Views (2 N, 3, S, S) -> z (2 N, dim), each view's batch by itself, as in algorithm 1."""
        return in_groups(self.branch, views, 2).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, how alike their embeddings are, and the nearest view of another image."""
        views = two_views(batch.images, self.look)
        return pair_panels(views, self.embeddings(views))


def shortfall(z: Tensor) -> Tensor:
    """Embeddings (N, dim) -> by how much a number's standard deviation is below 1, on average (equation 1)."""
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


@augment.in_full_precision
def redundancy(z: Tensor) -> Tensor:
    """Embeddings (N, dim) -> the squared covariances off the diagonal, summed, over dim (equations 3 and 4)."""
    centred = z - z.mean(0)
    covariances = centred.T @ centred / (len(z) - 1)
    return (covariances.square().sum() - covariances.diagonal().square().sum()) / z.shape[1]
