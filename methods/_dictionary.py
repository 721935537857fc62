"""What the first two versions of momentum contrast share: a query must find its key in a queue (He et al. 2020)."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, distributed, without_autocast

from ._contrast import answers_in_first_column, info_nce, nearest_panel
from ._heads import spread
from ._momentum import Queue, ema_update, run_in_groups, run_in_shuffled_groups, teacher_of


class MomentumContrast(Method):
    """Contrasts queries with their keys and with the queue; a subclass defines the projection head and the views."""

    sync_batch_norm: ClassVar = False  # the paper shuffles batch norm instead
    views_per_image = 2.0

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        negatives: int,
        momentum: float,
        temperature: float,
        dim: int,
        shuffle_bn: bool,
        groups: int,
    ) -> None:
        super().__init__(encoder, train_info)
        self.momentum, self.temperature = momentum, temperature
        self.shuffle_bn, self.groups = shuffle_bn, groups
        self.query = nn.Sequential(encoder, self.projection_head(encoder.dim, dim))
        self.key = teacher_of(self.query)
        self.queue = Queue(negatives, dim)

    @abstractmethod
    def projection_head(self, inputs: int, outputs: int) -> nn.Module:
        """A new head that maps embeddings (N, inputs) to projections (N, outputs)."""

    @abstractmethod
    def draw_views(self, images: Tensor) -> Tensor:
        """One new random view of each image: floats (N, 3, S, S)."""

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE of each query against its key and the queue (He et al. 2020, equation 1)."""
        groups = max(1, self.groups // distributed.world_size())
        q = F.normalize(run_in_groups(self.query, self.draw_views(batch.images), groups).float(), dim=1)  # (N, dim)
        with torch.no_grad():
            forward = run_in_shuffled_groups if self.shuffle_bn else run_in_groups
            k = F.normalize(forward(self.key, self.draw_views(batch.images), groups).float(), dim=1)
        logits = info_nce_logits(q, k, self.queue.keys, self.temperature)
        self.newest = k
        self.logged["spread"] = spread(q)
        return info_nce(logits, answers_in_first_column(logits), self.logged)

    def after_step(self, progress: float) -> None:
        """Adds the batch's keys to the queue and moves the key encoder towards the query encoder."""
        self.queue.push(self.newest)
        ema_update(self.key, self.query, self.momentum)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, its query, its key with the key's rank in the queue, and the nearest key of another image."""
        first, second = self.draw_views(batch.images), self.draw_views(batch.images)
        q = F.normalize(self.query(first).float(), dim=1)
        k = F.normalize(self.key(second).float(), dim=1)
        logits = info_nce_logits(q, k, self.queue.keys, self.temperature)
        rank, share = (logits > logits[:, :1]).sum(1) + 1, logits.softmax(1)[:, 0]
        numbers = zip(rank.tolist(), share.tolist(), (q * k).sum(1).tolist(), strict=True)
        return [
            Panel(title="image", images=batch.images),
            Panel(title="query: a random view", images=first),
            Panel(
                title="key: another view of the same image",
                images=second,
                captions=tuple(
                    f"rank {r:,} of {logits.shape[1]:,} keys\n{p:.0%}, cosine {c:.2f}" for r, p, c in numbers
                ),
            ),
            nearest_panel(second, q, k, title="nearest key of another image"),
        ]


@without_autocast
def info_nce_logits(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Unit queries and keys (N, dim), queue (K, dim) -> logits (N, 1 + K) with the positive in the first column."""
    positive = (q * k).sum(1, keepdim=True)
    return torch.cat([positive, q @ queue.T], dim=1) / temperature
