"""SimSiam: predict one view's projection from the other's, with a stop-gradient and nothing more.

Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
https://arxiv.org/abs/2011.10566

Without negatives, momentum teacher or large batches: two views pass the same
encoder, a predictor turns one output into the other, and no gradient flows into
the side that is predicted. Take the stop-gradient away (``stop_gradient=False``)
and all outputs collapse to one vector (section 4.1), which ``spread`` shows.

Where we differ: the predictor's rate falls like all others (the paper's is
constant); the projector of shorter runs is narrower, in the paper's ratio of 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, require

from ._heads import mlp, spread
from ._momentum import in_groups
from ._views import MOCO, pair_panels, two_views


class SimSiam(Method):
    """Predicts each view's projection from the other's."""

    checkpoints: ClassVar = {
        "100ep": {
            "url": "https://dl.fbaipublicfiles.com/simsiam/models/100ep/pretrain/checkpoint_0099.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.681,
            "source": "https://github.com/facebookresearch/simsiam",
        },
        "100ep_bs256": {
            "url": "https://dl.fbaipublicfiles.com/simsiam/models/100ep-256bs/pretrain/checkpoint_0099.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.683,
            "source": "https://github.com/facebookresearch/simsiam",
        },
        "mmselfsup_100ep": {
            "url": (
                "mmselfsup:1.x/simsiam/simsiam_resnet50_8xb32-coslr-100e_in1k/"
                "simsiam_resnet50_8xb32-coslr-100e_in1k_20220825-d07cb2e6.pth"
            ),
            "linear": 0.683,
        },
        "mmselfsup_200ep": {
            "url": (
                "mmselfsup:1.x/simsiam/simsiam_resnet50_8xb32-coslr-200e_in1k/"
                "simsiam_resnet50_8xb32-coslr-200e_in1k_20220825-efe91299.pth"
            ),
            "linear": 0.698,
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"dim": 512, "bottleneck": 128}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        dim: int = 2048,
        bottleneck: int = 512,
        layers: int = 3,
        stop_gradient: bool = True,
        crop: float = 0.2,
    ) -> None:
        super().__init__(encoder, facts)
        require(dim >= 2, "simsiam.dim", dim, "at least 2")
        require(bottleneck >= 1, "simsiam.bottleneck", bottleneck, "at least 1")
        require(layers >= 1, "simsiam.layers", layers, "at least 1")
        require(0 < crop <= 1, "simsiam.crop", crop, "a share of the area, above 0 to 1")
        self.stop_gradient = stop_gradient
        self.look = replace(MOCO, crop=crop)
        self.f = nn.Sequential(encoder, mlp(encoder.dim, *[dim] * layers, norm_last=True))
        self.h = mlp(dim, bottleneck, dim)

    def loss(self, batch: Batch) -> Tensor:
        """Minus the cosine of prediction and target, averaged over both ways (equation 2 and algorithm 1)."""
        p, z = self.answers(two_views(batch.images, self.look))
        self.logged["spread"] = spread(z)
        z1, z2 = (z.detach() if self.stop_gradient else z).chunk(2)
        return -F.cosine_similarity(p, torch.cat([z2, z1]), dim=1).mean()

    def answers(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Views (2 N, 3, S, S) -> predictions p and projections z (2 N, dim).

        The paper's batch norm sees each view's batch by itself, so the two pass one after the other.
        """
        z = in_groups(self.f, views, 2)
        return in_groups(self.h, z, 2).float(), z.float()

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, how well the second's projection is predicted from the first, and the nearest other image."""
        views = two_views(batch.images, self.look)
        p, z = self.answers(views)
        return pair_panels(views, torch.cat([p.chunk(2)[0], z.chunk(2)[1]]))
