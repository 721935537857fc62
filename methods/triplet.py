"""Triplet loss: a view lies nearer to its twin than to views of other images, by a margin.

Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face
Recognition and Clustering", CVPR 2015. https://arxiv.org/abs/1503.03832

Anchor, positive and negative are points on the unit sphere, compared by squared
distance (section 3.1). Which negative counts (section 3.2): the hardest ones
lead to a collapse early on, random ones soon say nothing; a semi-hard one is the
nearest of those that lie farther away than the positive.

Where we differ: no labels, so a positive is another view of the same image, and
the embedding is a linear layer on the encoder's. Where every negative is nearer
than the positive, and none is semi-hard, the farthest is taken. Each pair takes
part in ``triplets`` triplets, and their loss is a mean, not a sum.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, distributed, require

from ._heads import spread
from ._views import two_views


class Triplet(Method):
    """Pulls twins together and pushes the mined negatives away, as far as the margin."""

    views_per_image = 2.0

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        margin: float = 0.2,
        negatives: Literal["semi_hard", "hardest", "random"] = "semi_hard",
        triplets: int = 1,
        dim: int = 128,
    ) -> None:
        super().__init__(encoder, facts)
        require(0 < margin < 4, "triplet.margin", margin, "above 0 and below 4, the largest squared distance")
        require(triplets >= 1, "triplet.triplets", triplets, "at least 1")
        require(dim >= 2, "triplet.dim", dim, "at least 2")
        self.margin, self.negatives, self.triplets = margin, negatives, triplets
        self.head = nn.Linear(encoder.dim, dim)

    def loss(self, batch: Batch) -> Tensor:
        """max(0, d(anchor, positive) - d(anchor, negative) + margin) over all pairs of twins (section 3.1)."""
        first, second = self.embedded(two_views(batch.images)).chunk(2)
        z = torch.cat([distributed.gather(first), distributed.gather(second)])
        distances, mine = squared_distances(z), same_image(z)
        positive = distances.gather(1, twins(z).unsqueeze(1))
        others = distances.masked_fill(mine, torch.inf).detach()
        hinge = F.relu(
            positive - distances.gather(1, mined(others, positive, self.negatives, self.triplets)) + self.margin
        )
        self.logged["accuracy"] = (positive.squeeze(1) < others.min(1).values).float().mean()
        self.logged["active"] = (hinge > 0).float().mean()
        self.logged["spread"] = spread(z)
        return hinge.mean()

    def embedded(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image's anchor, positive and the negative that would be mined, with their squared distances."""
        views = two_views(batch.images)
        z = self.embedded(views)
        distances, N = squared_distances(z), len(batch.images)
        positive = distances.gather(1, twins(z).unsqueeze(1))
        negative = mined(distances.masked_fill(same_image(z), torch.inf), positive, self.negatives, 1)
        far = distances.gather(1, negative)

        def captions(squares: Tensor) -> tuple[str, ...]:
            return tuple(f"squared distance {square:.2f}" for square in squares[:N, 0].tolist())

        return [
            Panel(title="anchor: a view", images=views[:N]),
            Panel(title="positive: another view", images=views[N:], captions=captions(positive)),
            Panel(title="negative that is mined", images=views[negative[:N, 0]], captions=captions(far)),
        ]


@augment.in_full_precision
def squared_distances(z: Tensor) -> Tensor:
    """Unit vectors (M, dim) -> squared distances (M, M)."""
    return (2 - 2 * z @ z.T).clamp_min(0)


def twins(z: Tensor) -> Tensor:
    """For each of 2 N views, image by image and then again, the other view of its image (2 N,)."""
    return torch.arange(len(z), device=z.device).roll(len(z) // 2)


def same_image(z: Tensor) -> Tensor:
    """bool (2 N, 2 N): views of one image."""
    image = torch.arange(len(z), device=z.device) % (len(z) // 2)
    return image.unsqueeze(1) == image


def mined(others: Tensor, positive: Tensor, negatives: str, triplets: int) -> Tensor:
    """Squared distances (M, M), infinite to the own image's, and to the positive (M, 1) -> int64 (M, triplets)."""
    triplets = min(triplets, len(others) - 2)
    if negatives == "random":
        others = torch.rand_like(others).masked_fill(others.isinf(), torch.inf)
    elif negatives == "semi_hard":
        farthest = others.masked_fill(others.isinf(), -1).argmax(1, keepdim=True)
        nearest = others.masked_fill(others <= positive, torch.inf).topk(triplets, largest=False)
        return torch.where(nearest.values.isinf(), farthest, nearest.indices)
    return others.topk(triplets, largest=False).indices
