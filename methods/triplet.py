"""Triplet loss: a view must be closer to another view of its image than to views of other images, by a margin.

Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face
Recognition and Clustering", CVPR 2015. https://arxiv.org/abs/1503.03832

Anchor, positive and negative are points on the unit sphere, compared by squared
distance (section 3.1). The choice of negatives matters (section 3.2): the hardest
ones make the embedding collapse early in training, and random ones soon have no
effect. A semi-hard negative is the nearest of those that are farther from the
anchor than the positive.

Where we differ: there are no labels, so the positive is another view of the same
image, and the embedding is a linear layer on the encoder's. If all negatives are
nearer than the positive, so that none is semi-hard, the farthest is taken. Each
pair is part of ``triplets`` triplets, and the loss is their mean, not their sum.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, TrainInfo, distributed, without_autocast

from ._heads import spread
from ._views import two_views


class Triplet(Method):
    """Pulls views of an image together, and pushes mined negatives away up to the margin."""

    year = 2015
    kind = "contrastive"
    views_per_image = 2.0

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        margin: Annotated[float, Interval(gt=0, lt=4)] = 0.2,  # 4 is the largest squared distance
        negatives: Literal["semi_hard", "hardest", "random"] = "semi_hard",
        triplets: Count = 1,
        dim: Annotated[int, Ge(2)] = 128,
    ) -> None:
        super().__init__(encoder, train_info)
        self.margin, self.negatives, self.triplets = margin, negatives, triplets
        self.head = nn.Linear(encoder.dim, dim)

    def loss(self, batch: Batch) -> Tensor:
        """max(0, d(anchor, positive) - d(anchor, negative) + margin), averaged over all triplets (section 3.1)."""
        first, second = self.embed(two_views(batch.images)).chunk(2)
        z = torch.cat([distributed.gather(first), distributed.gather(second)])
        distances = squared_distances(z)
        positive = distances.gather(1, positive_indices(z).unsqueeze(1))
        others = distances.masked_fill(same_image_mask(z), torch.inf).detach()
        negative = distances.gather(1, mine_negatives(others, positive, self.negatives, self.triplets))
        hinge = F.relu(positive - negative + self.margin)
        self.logged["accuracy"] = (positive.squeeze(1) < others.min(1).values).float().mean()
        self.logged["active"] = (hinge > 0).float().mean()
        self.logged["spread"] = spread(z)
        return hinge.mean()

    def embed(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image's anchor, positive and mined negative, with their squared distances to the anchor."""
        views = two_views(batch.images)
        z = self.embed(views)
        distances, N = squared_distances(z), len(batch.images)
        positive = distances.gather(1, positive_indices(z).unsqueeze(1))
        others = distances.masked_fill(same_image_mask(z), torch.inf)
        mined = mine_negatives(others, positive, self.negatives, 1)

        def captions(squares: Tensor) -> tuple[str, ...]:
            return tuple(f"squared distance {square:.2f}" for square in squares[:N, 0].tolist())

        return [
            Panel(title="anchor: a view", images=views[:N]),
            Panel(title="positive: another view", images=views[N:], captions=captions(positive)),
            Panel(title="mined negative", images=views[mined[:N, 0]], captions=captions(distances.gather(1, mined))),
        ]


@without_autocast
def squared_distances(z: Tensor) -> Tensor:
    """Unit vectors (M, dim) -> squared distances (M, M)."""
    return (2 - 2 * z @ z.T).clamp_min(0)


def positive_indices(z: Tensor) -> Tensor:
    """First views (N) and then second views (N) of the same images -> each view's other view (2 N,)."""
    return torch.arange(len(z), device=z.device).roll(len(z) // 2)


def same_image_mask(z: Tensor) -> Tensor:
    """First and then second views (2 N, dim) -> whether two views are of the same image, bool (2 N, 2 N)."""
    image = torch.arange(len(z), device=z.device) % (len(z) // 2)
    return image.unsqueeze(1) == image


def mine_negatives(others: Tensor, positive: Tensor, negatives: str, triplets: int) -> Tensor:
    """The chosen negatives of each anchor, int64 (M, triplets).

    ``others`` (M, M) are squared distances, infinite within an image, and ``positive`` (M, 1) those of positives.
    """
    triplets = min(triplets, len(others) - 2)
    if negatives == "random":
        others = torch.rand_like(others).masked_fill(others.isinf(), torch.inf)
    elif negatives == "semi_hard":
        farthest = others.masked_fill(others.isinf(), -1).argmax(1, keepdim=True)
        nearest = others.masked_fill(others <= positive, torch.inf).topk(triplets, largest=False)
        return torch.where(nearest.values.isinf(), farthest, nearest.indices)
    return others.topk(triplets, largest=False).indices
