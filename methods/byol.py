"""BYOL: predict from one view the projection that a slowly moving copy of the network gives of the other view.

Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised
Learning", NeurIPS 2020. https://arxiv.org/abs/2006.07733

The student's prediction from one view is regressed on the teacher's projection of the
other view; each view plays both roles. The teacher is an exponential moving average of
the student. There are no negatives: a constant output would minimise the loss, but
training does not find it, because the loss does not update the teacher and the
predictor stays near its optimum (section 3.2).

Where we differ: the benchmark's recipe instead of LARS. Runs shorter than the paper's
use a smaller momentum, because in a few hundred steps a slow teacher would not get away
from its random start; larger crops, as in MoCo v2 and SimSiam; narrower heads; and a
batch norm at the end of the projector (``norm_last``), as in MoCo v3, because otherwise
their few steps are spent on removing the mean that all projections share.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, Share, TrainInfo

from ._heads import mlp, spread
from ._momentum import cosine_momentum, ema_update, run_in_groups, teacher_of
from ._views import BYOL as AUGMENTATIONS, pair_panels, two_views


class BYOL(Method):
    """Regresses the student's predictions on the teacher's projections."""

    year = 2020
    kind = "joint embedding"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"momentum": 0.9, "hidden": 512, "dim": 128, "norm_last": True, "crop": 0.2}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        momentum: Share = 0.996,
        hidden: Count = 4096,
        dim: Annotated[int, Ge(2)] = 256,
        norm_last: bool = False,
        crop: PositiveShare = 0.08,
    ) -> None:
        super().__init__(encoder, train_info)
        self.momentum = momentum
        self.augmentations = tuple(replace(augmentation, crop=crop) for augmentation in AUGMENTATIONS)
        self.student = nn.Sequential(encoder, mlp(encoder.dim, hidden, dim, norm_last=norm_last))
        self.teacher = teacher_of(self.student)
        self.predictor = mlp(dim, hidden, dim)

    def loss(self, batch: Batch) -> Tensor:
        """2 - 2 cos(prediction, target), summed over the two directions (equation 2)."""
        predictions, targets, z = self.predict_other_views(two_views(batch.images, *self.augmentations))
        self.logged["spread"] = spread(z)
        return 2 * (2 - 2 * F.cosine_similarity(predictions, targets, dim=1)).mean()

    def predict_other_views(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views (2 N, 3, S, S) -> predictions, the teacher's projections of the other views, and z (2 N, dim) each.

        Batch norm treats first and second views separately, as in the paper.
        """
        z = run_in_groups(self.student, views, 2)
        predictions = run_in_groups(self.predictor, z, 2).float()
        with torch.no_grad():
            first, second = run_in_groups(self.teacher, views, 2).float().chunk(2)
        return predictions, torch.cat([second, first]), z

    def after_step(self, progress: float) -> None:
        """Moves the teacher towards the student, with a momentum that rises to 1 along a cosine (section 3.3)."""
        ema_update(self.teacher, self.student, cosine_momentum(self.momentum, progress))

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, the similarity of the first's prediction and the second's target, and the nearest other view."""
        views = two_views(batch.images, *self.augmentations)
        predictions, targets, _ = self.predict_other_views(views)
        return pair_panels(views, torch.cat([predictions.chunk(2)[0], targets.chunk(2)[0]]))
