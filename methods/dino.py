"""DINO: predict from part of an image the output that a slowly moving copy of the network gives for the whole.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski and Joulin, "Emerging Properties
in Self-Supervised Vision Transformers", ICCV 2021. https://arxiv.org/abs/2104.14294

The teacher, an exponential moving average of the student, assigns large views to learned
prototypes. The student must predict the assignment from the other large view and from
small crops. Centring the teacher's scores prevents one prototype from always winning;
sharpening them with a low temperature prevents a uniform distribution. Either alone
collapses, both together do not (section 5.3; the logs show ``entropy`` and ``spread``).

Where we differ: the benchmark's recipe, whose weight decay does not rise. Runs shorter
than the paper's have fewer prototypes, which stay fixed throughout, and fewer small crops;
a smaller momentum, because in a few hundred steps a slow teacher would not get away from
its random start; and a narrower head that ends in a batch norm (``norm_last``), because
otherwise a mean that all embeddings share hides their differences.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, NonNegative, Panel, Positive, Share, TrainInfo, distributed

from ._heads import mlp, spread
from ._momentum import cosine_momentum, ema_update, teacher_of
from ._prototypes import Prototypes, prototype_panels, swapped_prediction_loss
from ._views import BYOL, multi_crop_cost, small_crops, two_views


class DINO(Method):
    """Predicts the teacher's assignment of each large view from all other views."""

    year = 2021
    kind = "joint embedding"
    centre: Tensor  # (prototypes,), running mean of the teacher's scores
    short_run_settings: ClassVar = {
        "prototypes": 256,
        "momentum": 0.97,
        "frozen": 100.0,
        "small": 2,
        "hidden": 512,
        "dim": 64,
        "norm_last": True,
    }

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        prototypes: Annotated[int, Ge(2)] = 65536,
        temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.04,
        momentum: Share = 0.996,
        centring: Share = 0.9,  # momentum of the centre
        frozen: NonNegative = 1.0,  # epochs in which the prototypes stay fixed
        small: Annotated[int, Ge(0)] = 8,
        crop: Annotated[float, Interval(ge=0.05, le=1)] = 0.4,  # share of the area between small and large crops
        hidden: Count = 2048,
        dim: Annotated[int, Ge(2)] = 256,
        norm_last: bool = False,
    ) -> None:
        super().__init__(encoder, train_info)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.momentum, self.centring, self.small = momentum, centring, small
        self.augmentations = tuple(replace(augmentation, crop=crop) for augmentation in BYOL)
        self.view_size, self.views_per_image = multi_crop_cost(train_info.image_size, small)
        head = mlp(encoder.dim, hidden, hidden, dim, norm=False, norm_last=norm_last, activation=nn.GELU)
        self.prototypes = Prototypes(dim, prototypes, frozen * train_info.num_images)
        self.student = nn.Sequential(nn.Sequential(encoder, head), self.prototypes)
        self.teacher = teacher_of(self.student)
        self.register_buffer("centre", torch.zeros(prototypes))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the teacher's assignment of each large view, from every other view (equation 3)."""
        N, embed, large = len(batch.images), self.student[0], two_views(batch.images, *self.augmentations)
        z = [embed(large)]
        if self.small:
            z.append(embed(small_crops(batch.images, replace(self.augmentations[0], blur=0.5), self.small)))
        with torch.no_grad():
            scores = self.teacher(large)
        self.newest = scores.mean(0), N
        targets = self.teacher_assignments(scores)
        self.logged["entropy"] = torch.special.entr(targets).sum(1).mean()
        self.logged["spread"] = spread(z[0])
        logits = self.prototypes(torch.cat(z)) / self.temperature
        return swapped_prediction_loss(targets.view(2, N, -1), logits.view(-1, N, logits.shape[1]))

    def teacher_assignments(self, scores: Tensor) -> Tensor:
        """The teacher's scores (M, prototypes), centred and sharpened -> probabilities (M, prototypes)."""
        return ((scores - self.centre) / self.teacher_temperature).softmax(1)

    def after_step(self, progress: float) -> None:
        """Updates the centre (equation 4) and the teacher, whose momentum rises to 1 along a cosine (section 3.1)."""
        mean, images = self.newest
        self.centre.copy_(torch.lerp(distributed.gather(mean.unsqueeze(0)).mean(0), self.centre, self.centring))
        ema_update(self.teacher, self.student, cosine_momentum(self.momentum, progress))
        self.prototypes.seen += distributed.world_size() * images

    def panels(self, batch: Batch) -> list[Panel]:
        """First views with the teacher's prototypes, second views with the student's predictions, the closest other."""
        first, second = two_views(batch.images, *self.augmentations).chunk(2)
        predictions = (self.student(second) / self.temperature).softmax(1)
        return prototype_panels(first, self.teacher_assignments(self.teacher(first)), second, predictions)
