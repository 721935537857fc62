"""SimSiam: predict one view's projection from the other's; only a stop-gradient prevents collapse.

Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
https://arxiv.org/abs/2011.10566

There are no negatives, no momentum teacher and no large batches. The same encoder
projects two views, a predictor maps one view's projection to the other's, and no
gradient flows into the projection that is predicted. Without this stop-gradient
(``stop_gradient=False``) all outputs collapse to one vector (section 4.1), and the
logged ``spread`` becomes 0.

Where we differ: the predictor's learning rate decays like all others (the paper's
is constant). The projector of shorter runs is narrower, with the predictor's
bottleneck still a quarter of it, as in the paper.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, TrainInfo

from ._heads import mlp, spread
from ._momentum import run_in_groups
from ._views import MOCO, pair_panels, two_views


class SimSiam(Method):
    """Predicts each view's projection from that of the other view."""

    year = 2021
    kind = "joint embedding"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"dim": 512, "bottleneck": 128}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        dim: Annotated[int, Ge(2)] = 2048,
        bottleneck: Count = 512,
        layers: Count = 3,  # of the projector
        stop_gradient: bool = True,
        crop: PositiveShare = 0.2,  # the smallest crop's share of the area
    ) -> None:
        super().__init__(encoder, train_info)
        self.stop_gradient = stop_gradient
        self.augmentation = replace(MOCO, crop=crop)
        self.f = nn.Sequential(encoder, mlp(encoder.dim, *[dim] * layers, norm_last=True))
        self.h = mlp(dim, bottleneck, dim)

    def loss(self, batch: Batch) -> Tensor:
        """Minus the cosine of prediction and target, averaged over both directions (equation 2 and algorithm 1)."""
        p, z = self.predict_and_project(two_views(batch.images, self.augmentation))
        self.logged["spread"] = spread(z)
        z1, z2 = (z.detach() if self.stop_gradient else z).chunk(2)
        return -F.cosine_similarity(p, torch.cat([z2, z1]), dim=1).mean()

    def predict_and_project(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Views (2 N, 3, S, S) -> predictions p and projections z (2 N, dim).

        First and second views have separate batch statistics, as in the paper, so they are encoded one after the other.
        """
        z = run_in_groups(self.f, views, 2)
        return run_in_groups(self.h, z, 2).float(), z.float()

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, how well the first view predicts the second's projection, and the nearest other image."""
        views = two_views(batch.images, self.augmentation)
        p, z = self.predict_and_project(views)
        return pair_panels(views, torch.cat([p.chunk(2)[0], z.chunk(2)[1]]))
