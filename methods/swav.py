"""SwAV: predict from one view to which prototypes another view of the same image is assigned.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, "Unsupervised Learning of
Visual Features by Contrasting Cluster Assignments", NeurIPS 2020.
https://arxiv.org/abs/2006.09882

Clustering happens during training. Each batch is assigned to the prototypes such
that all prototypes get the same share of it (Sinkhorn-Knopp), which prevents
collapse. The assignment of a large crop, its code, must be predicted from every
other view, including small crops, which are cheap to encode. Small batches are
assigned together with a queue of earlier embeddings.

Where we differ: shorter runs have fewer prototypes, which stay fixed throughout,
sharper codes, a shorter queue that is used earlier, weaker colour jitter, fewer
small crops, and a narrower head with a batch norm at its end (``norm_last``),
because otherwise embeddings have a large common mean and differ too little.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from sslbench import Batch, Count, Encoder, Method, NonNegative, Panel, Positive, Share, TrainInfo, distributed

from ._heads import mlp, spread
from ._prototypes import Prototypes, prototype_panels, swapped_prediction_loss
from ._sinkhorn import BalancedCodes
from ._views import SWAV, multi_crop_cost, small_crops, two_views, weaker_jitter


class SwAV(Method):
    """Predicts the code of each large view from all other views."""

    year = 2020
    kind = "clustering"
    short_run_settings: ClassVar = {
        "prototypes": 64,
        "epsilon": 0.03,
        "queue": 512,
        "queue_from": 0.25,
        "frozen": 100.0,
        "small": 2,
        "strength": 0.5,
        "hidden": 512,
        "dim": 64,
        "norm_last": True,
    }

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        prototypes: Annotated[int, Ge(2)] = 3000,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,
        iterations: Count = 3,  # of Sinkhorn-Knopp
        queue: Annotated[int, Ge(0)] = 3840,
        queue_from: NonNegative = 15.0,  # epochs before the queue is used
        frozen: NonNegative = 1.0,  # epochs in which the prototypes stay fixed
        small: Annotated[int, Ge(0)] = 6,  # small crops per image
        strength: Share = 1.0,  # of the authors' colour jitter
        hidden: Count = 2048,
        dim: Annotated[int, Ge(2)] = 128,
        norm_last: bool = False,
    ) -> None:
        super().__init__(encoder, train_info)
        self.temperature, self.small, self.augmentation = temperature, small, weaker_jitter(SWAV, strength)
        self.view_size, self.views_per_image = multi_crop_cost(train_info.image_size, small)
        self.head = mlp(encoder.dim, hidden, dim, norm_last=norm_last)
        self.prototypes = Prototypes(dim, prototypes, frozen * train_info.num_images)
        self.codes, self.queue_from = BalancedCodes(queue, dim, epsilon, iterations), queue_from * train_info.num_images

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of both large views' codes, predicted from each other view (equation 2 and section 3.2)."""
        N, large = len(batch.images), two_views(batch.images, self.augmentation)
        small = [small_crops(batch.images, self.augmentation, self.small)] if self.small else []
        z = self.embed(large, *small)
        self.newest = z[: 2 * N].detach()
        codes, scores = self.codes(self.newest, self.prototypes), self.prototypes(z).unflatten(0, (-1, N))
        self.logged["accuracy"] = (scores[:2].argmax(2) == codes.flip(0).argmax(2)).float().mean()
        self.logged["spread"] = spread(self.newest)
        return swapped_prediction_loss(codes, scores / self.temperature)

    def embed(self, *views: Tensor) -> Tensor:
        """Batches of views, one batch per size -> unit vectors z of all (M, dim); the head gets them as one batch."""
        return F.normalize(self.head(torch.cat([self.encoder(batch) for batch in views])).float(), dim=1)

    def after_step(self, progress: float) -> None:
        """Pushes the batch into the queue, from epoch ``queue_from`` on."""
        if self.prototypes.seen >= self.queue_from:
            self.codes.push(self.newest)
        self.prototypes.seen += distributed.world_size() * len(self.newest) // 2

    def panels(self, batch: Batch) -> list[Panel]:
        """A view with its prototype, a second view with its prediction, and another image of the same prototype."""
        first, second = (views := two_views(batch.images, self.augmentation)).chunk(2)
        z = self.embed(views)
        predictions = (self.prototypes(z.chunk(2)[1]) / self.temperature).softmax(1)
        return prototype_panels(first, self.codes(z, self.prototypes)[0], second, predictions)
