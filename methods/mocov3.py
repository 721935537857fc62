"""MoCo v3: predict the key of the other view of the same image among the batch's keys, without a queue.

Chen, Xie and He, "An Empirical Study of Training Self-Supervised Vision
Transformers", ICCV 2021. https://arxiv.org/abs/2104.02057

A large batch contains enough negatives: the keys of its other images. Each view
is used once as a query and once as a key (algorithm 1). The key encoder is a
moving average of the query encoder without the predictor at its end. The loss is
scaled by twice the temperature. ``negatives`` keeps fewer of the other keys.

Where we differ: the patch projection is not frozen, since that was for vision
transformers. Both heads end in a batch norm, as in the paper; the predictor in
the authors' latest code for ResNet-50 does not. Defaults are the authors' for
ResNet-50 at 100 epochs, with a temperature of 1. Shorter runs have smaller
batches and narrower heads, and use the lower temperature of the authors' vision
transformers, which gives the nearest negatives more weight.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, Positive, Share, TrainInfo, distributed

from ._contrast import draw_negatives, info_nce, pairwise_products
from ._heads import mlp, spread
from ._momentum import cosine_momentum, ema_update, run_in_groups, teacher_of
from ._views import BYOL, pair_panels, two_views

AUGMENTATIONS = tuple(replace(augmentation, crop=0.2) for augmentation in BYOL)  # the authors' crops for ResNet-50


class MoCoV3(Method):
    """Contrasts predictions from each view with the keys of the other view."""

    year = 2021
    kind = "contrastive"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"temperature": 0.2, "hidden": 512}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        momentum: Share = 0.99,
        temperature: Positive = 1.0,
        negatives: Count | None = None,
        hidden: Count = 4096,
        dim: Annotated[int, Ge(2)] = 256,
    ) -> None:
        super().__init__(encoder, train_info)
        self.momentum, self.temperature, self.negatives = momentum, temperature, negatives
        self.query = nn.Sequential(encoder, mlp(encoder.dim, hidden, dim, norm_last=True))
        self.predictor = mlp(dim, hidden, dim, norm_last=True)
        self.key = teacher_of(self.query)

    def loss(self, batch: Batch) -> Tensor:
        """ctr(q1, k2) + ctr(q2, k1) (algorithm 1)."""
        (q1, q2), (k1, k2) = self.queries_and_keys(two_views(batch.images, *AUGMENTATIONS))
        self.logged["spread"] = spread(q1)
        return self.contrast(q1, k2) + self.contrast(q2, k1)

    def queries_and_keys(self, views: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Views (2 N, 3, S, S) -> unit queries of the first and of the second views (N, dim), and the same for keys.

        First and second views have separate batch statistics, as in the authors' code.
        """
        q = F.normalize(run_in_groups(self.predictor, run_in_groups(self.query, views, 2), 2).float(), dim=1)
        with torch.no_grad():
            k = F.normalize(run_in_groups(self.key, views, 2).float(), dim=1)
        return q.chunk(2), k.chunk(2)

    def contrast(self, q: Tensor, k: Tensor) -> Tensor:
        """ctr of algorithm 1: 2 tau times the cross-entropy of each query's own key among those of all processes."""
        answers = distributed.rank() * len(q) + torch.arange(len(q), device=q.device)
        logits = pairwise_products(q, distributed.gather(k)) / self.temperature
        logits, answers = draw_negatives(logits, answers, self.negatives)
        return 2 * self.temperature * info_nce(logits, answers, self.logged)

    def after_step(self, progress: float) -> None:
        """Updates the key encoder, whose momentum rises to 1 along a cosine (section 4.1)."""
        ema_update(self.key, self.query, cosine_momentum(self.momentum, progress))

    def panels(self, batch: Batch) -> list[Panel]:
        """Both views, the rank of the second view's key for the first view's query, and the nearest other image."""
        views = two_views(batch.images, *AUGMENTATIONS)
        (q1, _), (_, k2) = self.queries_and_keys(views)
        return pair_panels(views, torch.cat([q1, k2]))
