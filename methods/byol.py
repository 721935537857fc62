"""BYOL: predict from one view what a slow copy of the network makes of the other.

Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised
Learning", NeurIPS 2020. https://arxiv.org/abs/2006.07733

A student's prediction from one view is regressed on the teacher's projection of
the other view; the teacher is the moving average of the student. No negatives:
a constant answer would be perfect, and yet is not found, since the teacher does
not learn and the predictor chases it (section 3.2). Both views play both roles.

Where we differ: the benchmark's recipe instead of LARS. Runs shorter than the
paper's scale the teacher's momentum to their length, since after a few hundred
steps a slow teacher would still stand near its random start; crop less, as
MoCo v2 and SimSiam do; have narrower heads; and end the projector in a batch
norm (``norm_last``), as MoCo v3 does, since else they spend their few steps on
the mean that all projections share.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, require

from ._heads import mlp, spread
from ._momentum import follow, in_groups, risen, teacher_of
from ._views import BYOL as LOOKS, pair_panels, two_views


class BYOL(Method):
    """Regresses the student's predictions on the teacher's projections."""

    checkpoints: ClassVar = {
        "mmselfsup_200ep": {
            "url": (
                "mmselfsup:1.x/byol/byol_resnet50_16xb256-coslr-200e_in1k/"
                "byol_resnet50_16xb256-coslr-200e_in1k_20220825-de817331.pth"
            ),
            "linear": 0.718,
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_byol_2024-02-14_16-10-09/pretrain/version_0/checkpoints/epoch%3D99-step%3D500400.ckpt"
            ),
            "linear": 0.625,
            "knn": 0.46,
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"momentum": 0.9, "hidden": 512, "dim": 128, "norm_last": True, "crop": 0.2}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        momentum: float = 0.996,
        hidden: int = 4096,
        dim: int = 256,
        norm_last: bool = False,
        crop: float = 0.08,
    ) -> None:
        super().__init__(encoder, facts)
        require(0 <= momentum <= 1, "byol.momentum", momentum, "from 0 to 1")
        require(hidden >= 1, "byol.hidden", hidden, "at least 1")
        require(dim >= 2, "byol.dim", dim, "at least 2")
        require(0 < crop <= 1, "byol.crop", crop, "a share of the area, above 0 to 1")
        self.momentum = momentum
        self.looks = tuple(replace(look, crop=crop) for look in LOOKS)
        self.student = nn.Sequential(encoder, mlp(encoder.dim, hidden, dim, norm_last=norm_last))
        self.teacher = teacher_of(self.student)
        self.predictor = mlp(dim, hidden, dim)

    def loss(self, batch: Batch) -> Tensor:
        """2 - 2 cos of prediction and target, for either view's prediction of the other, added (equation 2)."""
        predictions, targets, z = self.answers(two_views(batch.images, *self.looks))
        self.logged["spread"] = spread(z)
        return 2 * (2 - 2 * F.cosine_similarity(predictions, targets, dim=1)).mean()

    def answers(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views (2 N, 3, S, S) -> predictions, what the teacher makes of the other view, and projections (2 N, dim).

        The paper's batch norm sees each view's batch by itself, so the two pass one after the other.
        """
        z = in_groups(self.student, views, 2)
        predictions = in_groups(self.predictor, z, 2).float()
        with torch.no_grad():
            first, second = in_groups(self.teacher, views, 2).float().chunk(2)
        return predictions, torch.cat([second, first]), z

    def after_step(self, progress: float) -> None:
        """The teacher follows, ever more slowly: its momentum rises to 1 along a cosine (section 3.3)."""
        follow(self.teacher, self.student, risen(self.momentum, progress))

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, how well the first predicts what the teacher makes of the second, and the nearest other."""
        views = two_views(batch.images, *self.looks)
        predictions, targets, _ = self.answers(views)
        return pair_panels(views, torch.cat([predictions.chunk(2)[0], targets.chunk(2)[0]]))
