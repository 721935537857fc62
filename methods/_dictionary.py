"""Momentum contrast as its first two versions share it: find a query's key in a queue of others (He et al. 2020)."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, distributed, require

from ._contrast import first_right, info_nce, nearest_panel
from ._heads import spread
from ._momentum import Queue, follow, in_groups, in_shuffled_groups, teacher_of


class Dictionary(Method):
    """Contrasts queries with their keys and with the queue; a version says what its head and its views are."""

    synchronised: ClassVar = False  # it is shuffled instead
    views_per_image = 2.0

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        negatives: int,
        momentum: float,
        temperature: float,
        dim: int,
        shuffle_bn: bool,
        groups: int,
    ) -> None:
        super().__init__(encoder, facts)
        name = type(self).__name__.lower()
        require(negatives >= 1, f"{name}.negatives", negatives, "at least 1")
        require(0 <= momentum < 1, f"{name}.momentum", momentum, "from 0 to below 1")
        require(temperature > 0, f"{name}.temperature", temperature, "above 0")
        require(dim >= 2, f"{name}.dim", dim, "at least 2")
        require(groups >= 1, f"{name}.groups", groups, "at least 1")
        self.momentum, self.temperature = momentum, temperature
        self.shuffle_bn, self.groups = shuffle_bn, groups
        self.query = nn.Sequential(encoder, self.head(encoder.dim, dim))
        self.key = teacher_of(self.query)
        self.queue = Queue(negatives, dim)

    @abstractmethod
    def head(self, inputs: int, outputs: int) -> nn.Module:
        """Embeddings (N, inputs) -> projections (N, outputs)."""

    @abstractmethod
    def views(self, images: Tensor) -> Tensor:
        """One view of each image, drawn anew: (N, 3, S, S)."""

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE of each query against its key and the queue (He et al. 2020, equation 1)."""
        groups = max(1, self.groups // distributed.world_size())
        q = F.normalize(in_groups(self.query, self.views(batch.images), groups).float(), dim=1)  # (N, dim)
        with torch.no_grad():
            forward = in_shuffled_groups if self.shuffle_bn else in_groups
            k = F.normalize(forward(self.key, self.views(batch.images), groups).float(), dim=1)
        logits = info_nce_logits(q, k, self.queue.keys, self.temperature)
        self.newest = k
        self.logged["spread"] = spread(q)
        return info_nce(logits, first_right(logits), self.logged)

    def after_step(self, progress: float) -> None:
        """The keys of the batch enter the queue; the key encoder follows the query encoder."""
        self.queue.push(self.newest)
        follow(self.key, self.query, self.momentum)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, its query, its key with the key's rank in the dictionary, and the nearest other image."""
        first, second = self.views(batch.images), self.views(batch.images)
        q = F.normalize(self.query(first).float(), dim=1)
        k = F.normalize(self.key(second).float(), dim=1)
        logits = info_nce_logits(q, k, self.queue.keys, self.temperature)
        rank, share = (logits > logits[:, :1]).sum(1) + 1, logits.softmax(1)[:, 0]
        told = zip(rank.tolist(), share.tolist(), (q * k).sum(1).tolist(), strict=True)
        return [
            Panel(title="image", images=batch.images),
            Panel(title="query: a view", images=first),
            Panel(
                title="its key: another view",
                images=second,
                captions=tuple(f"rank {r:,} of {logits.shape[1]:,} keys\n{p:.0%}, cosine {c:.2f}" for r, p, c in told),
            ),
            nearest_panel(second, q, k, title="nearest key of another image"),
        ]


@augment.in_full_precision
def info_nce_logits(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Unit queries and keys (N, dim), queue (K, dim) -> logits (N, 1 + K), the positive first."""
    positive = (q * k).sum(1, keepdim=True)
    return torch.cat([positive, q @ queue.T], dim=1) / temperature
