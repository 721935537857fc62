"""Momentum contrast (MoCo): find a view's twin among a queue of other images.

He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual
Representation Learning", CVPR 2020. https://arxiv.org/abs/1911.05722

Contrast is a look-up: a query must match the key of another view of the same
image and no key of the queue. A queue makes the dictionary large; a key
encoder that follows slowly keeps its keys comparable (section 3.2).

Where we differ: one device plays the paper's several: keys pass in ``groups``
parts in shuffled order (section 3.3). Runs shorter than the paper's scale
momentum, queue and temperature to their length, since after a few hundred
steps a slow key encoder would still stand near its random start.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.augment import in_full_precision, recoloured, resized_crops
from bench.encoders import Encoder
from bench.errors import require
from bench.method import Batch, Method, Panel, TrainFacts
from methods._momentum import Queue, follow, in_groups, in_shuffled_groups, teacher_of


class MoCo(Method):
    """Contrasts queries with their keys and with the queue."""

    views_per_image = 2.0
    short: ClassVar = {"negatives": 2048, "momentum": 0.99, "temperature": 0.1, "groups": 2}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainFacts,
        *,
        negatives: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.07,
        dim: int = 128,
        shuffle_bn: bool = True,
        groups: int = 8,
    ) -> None:
        super().__init__(encoder, facts)
        require(negatives >= 1, "moco.negatives", negatives, "at least 1")
        require(0 <= momentum < 1, "moco.momentum", momentum, "from 0 to below 1")
        require(temperature > 0, "moco.temperature", temperature, "above 0")
        require(dim >= 2, "moco.dim", dim, "at least 2")
        require(groups >= 1, "moco.groups", groups, "at least 1")
        self.momentum, self.temperature = momentum, temperature
        self.shuffle_bn, self.groups = shuffle_bn, groups
        self.query = nn.Sequential(encoder, nn.Linear(encoder.dim, dim))
        self.key = teacher_of(self.query)
        self.queue = Queue(negatives, dim)

    def loss(self, batch: Batch) -> Tensor:
        """InfoNCE of each query against its key and the queue (equation 1)."""
        q = F.normalize(in_groups(self.query, views(batch.images), self.groups).float(), dim=1)  # (N, dim)
        with torch.no_grad():
            forward = in_shuffled_groups if self.shuffle_bn else in_groups
            k = F.normalize(forward(self.key, views(batch.images), self.groups).float(), dim=1)
        logits = info_nce_logits(q, k, self.queue.keys, self.temperature)
        self.newest = k
        target = torch.zeros(len(q), dtype=torch.long, device=q.device)
        self.watched["accuracy"] = (logits.argmax(1) == target).float().mean()
        self.watched["spread"] = q.detach().std(0).mean()
        return F.cross_entropy(logits, target)

    def after_step(self, progress: float) -> None:
        """The batch's keys enter the queue; the key encoder follows the query encoder."""
        self.queue.push(self.newest)
        follow(self.key, self.query, self.momentum)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, its query, its key with the key's rank in the dictionary, and the nearest other image."""
        first, second = views(batch.images), views(batch.images)
        q = F.normalize(self.query(first).float(), dim=1)
        k = F.normalize(self.key(second).float(), dim=1)
        logits = info_nce_logits(q, k, self.queue.keys, self.temperature)
        rank, share = (logits > logits[:, :1]).sum(1) + 1, logits.softmax(1)[:, 0]
        likeness = (q @ k.T).fill_diagonal_(-2)  # below every cosine
        cosine, nearest = likeness.max(1)
        told = zip(rank.tolist(), share.tolist(), (q * k).sum(1).tolist(), strict=True)
        return [
            Panel(title="image", images=batch.images),
            Panel(title="query: a view", images=first),
            Panel(
                title="its key: another view",
                images=second,
                captions=tuple(f"rank {r:,} of {logits.shape[1]:,} keys\n{p:.0%}, cosine {c:.2f}" for r, p, c in told),
            ),
            Panel(
                title="nearest key of another image",
                images=second[nearest],
                captions=tuple(f"cosine {c:.2f}" for c in cosine.tolist()),
            ),
        ]


def views(images: Tensor) -> Tensor:
    """The paper's views (section 3.3 after Wu et al. 2018): crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return recoloured(resized_crops(images), hue=0.4)


@in_full_precision
def info_nce_logits(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Unit queries and keys (N, dim), queue (K, dim) -> logits (N, 1 + K), the positive first."""
    positive = (q * k).sum(1, keepdim=True)
    return torch.cat([positive, q @ queue.T], dim=1) / temperature
