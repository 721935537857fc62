"""Barlow Twins: make what two views' projections say the same, and each number say something else.

Zbontar, Jing, Misra, LeCun and Deny, "Barlow Twins: Self-Supervised Learning via
Redundancy Reduction", ICML 2021. https://arxiv.org/abs/2103.03230

The cross-correlation over the batch between the two views' projections is to be
the identity. Ones on the diagonal: no view changes a number. Zeros beside it: no
two numbers are redundant (Barlow's principle), so nothing can collapse, without
negatives, momentum or stop-gradient. The views differ in blur and solarisation.

Where we differ: the benchmark's recipe instead of LARS. Shorter runs narrow the
projector, whose matrix would cost more than these encoders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, distributed, require

from ._heads import mlp, spread
from ._momentum import in_groups
from ._views import BYOL, pair_panels, two_views


class BarlowTwins(Method):
    """Pulls the cross-correlation of two views' projections towards the identity."""

    checkpoints: ClassVar = {
        "rn50": {
            "url": "https://dl.fbaipublicfiles.com/barlowtwins/ljng/resnet50.pth",
            "licence": "CC-BY-NC-4.0",
        },
        "vissl_300ep": {
            "url": "vissl:barlow_twins/barlow_twins_32gpus_4node_imagenet1k_300ep_resnet50.torch",
            "linear": 0.7075,
        },
        "vissl_1000ep": {
            "url": "vissl:barlow_twins/barlow_twins_32gpus_4node_imagenet1k_1000ep_resnet50.torch",
            "linear": 0.718,
        },
        "mmselfsup_300ep": {
            "url": (
                "mmselfsup:1.x/barlowtwins/barlowtwins_resnet50_8xb256-coslr-300e_in1k/"
                "barlowtwins_resnet50_8xb256-coslr-300e_in1k_20220825-57307488.pth"
            ),
            "linear": 0.718,
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_barlowtwins_2023-08-18_00-11-03/pretrain/version_0/checkpoints/"
                "epoch%3D99-step%3D500400.ckpt"
            ),
            "linear": 0.629,
            "knn": 0.456,
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"dim": 512}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        redundancy: float = 0.005,
        dim: int = 8192,
        crop: float = 0.08,
    ) -> None:
        super().__init__(encoder, facts)
        require(redundancy >= 0, "barlow_twins.redundancy", redundancy, "0 or more")
        require(dim >= 2, "barlow_twins.dim", dim, "at least 2")
        require(0 < crop <= 1, "barlow_twins.crop", crop, "a share of the area, above 0 to 1")
        self.redundancy = redundancy
        self.looks = tuple(replace(look, crop=crop) for look in BYOL)
        self.f = nn.Sequential(encoder, mlp(encoder.dim, dim, dim, dim))

    def loss(self, batch: Batch) -> Tensor:
        """The distance from the identity, summed over the matrix, lambda on what lies off the diagonal (equation 1)."""
        z = self.projections(two_views(batch.images, *self.looks))
        correlations = cross_correlation(*z.chunk(2))
        diagonal = correlations.diagonal()
        self.logged["correlation"] = diagonal.detach().mean()
        self.logged["spread"] = spread(z)
        return distance_from_identity(correlations, self.redundancy)

    def projections(self, views: Tensor) -> Tensor:
        """Views (2 N, 3, S, S) -> z (2 N, dim), each view's batch by itself, as in algorithm 1."""
        return in_groups(self.f, views, 2).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, how alike their projections are, and the matrix that is to be the identity."""
        views = two_views(batch.images, *self.looks)
        z = self.projections(views)
        correlations = cross_correlation(*z.chunk(2))
        S = views.shape[-1]
        corner = F.interpolate(((1 + correlations[:S, :S]) / 2).clamp(0, 1)[None, None], (S, S), mode="nearest")
        matrix = Panel(
            title="their cross-correlation: white 1, grey 0, black -1",
            images=corner.expand(len(batch.images), 3, S, S),
            captions=(f"diagonal {correlations.diagonal().mean():.2f} on average",) * len(batch.images),
        )
        return [*pair_panels(views, z), matrix]


@augment.in_full_precision
def cross_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Projections of two views (N, dim) -> the correlation of each number with each over the batch (dim, dim)."""
    one, other = (F.batch_norm(distributed.gather(z), None, None, training=True) for z in (one, other))
    return one.T @ other / len(one)


def distance_from_identity(matrix: Tensor, redundancy: float) -> Tensor:
    """The sum of (1 - c_ii)^2, and ``redundancy`` times that of c_ij^2 off the diagonal."""
    diagonal = matrix.diagonal()
    off_diagonal = matrix.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy * off_diagonal
