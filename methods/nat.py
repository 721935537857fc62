"""Noise as targets (NAT): map each image to a random point on the sphere that belongs to no other image.

Bojanowski and Joulin, "Unsupervised Learning by Predicting Noise", ICML 2017.
https://arxiv.org/abs/1704.05310

There are as many targets as images. They are uniform on the unit sphere and stay
fixed, so outputs cannot collapse. Which target an image has is learned: the images
of a batch exchange theirs by the Hungarian method, such that the sum of squared
distances is smallest (section 3.3). Similar images then get targets that are close.

Where we differ: the paper removes colour with a Sobel filter in front of the
encoder; we turn views grey (``grey``), so that the encoder is trained and probed on
the same kind of input. Runs of few epochs exchange targets in every epoch, and have
few dimensions, since only then does a batch contain a target close to each output.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, Share, TrainInfo, augment, without_autocast

from ._assignment import optimal_assignment
from ._heads import spread


class Nat(Method):
    """Regresses unit outputs on unit targets, after the images of the batch have exchanged targets."""

    year = 2017
    kind = "clustering"
    targets: Tensor  # (images, dim)
    owned: Tensor  # int64 (images,), the target of each image
    seen: Tensor  # int64 (), images trained on so far
    short_run_settings: ClassVar = {"dim": 16, "every": 1}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        dim: Annotated[int, Ge(2)] = 128,
        every: Count = 3,  # epochs from one exchange of targets to the next
        grey: Share = 1.0,  # of the views
        scale: PositiveShare = 0.2,  # the smallest crop's share of the area
    ) -> None:
        super().__init__(encoder, train_info)
        self.every, self.grey, self.scale = every, grey, scale
        self.head = nn.Linear(encoder.dim, dim)
        self.register_buffer("targets", F.normalize(torch.randn(train_info.num_images, dim), dim=1))
        self.register_buffer("owned", torch.randperm(train_info.num_images))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Batch) -> Tensor:
        """Squared distance of outputs and targets, which the batch exchanges first in every ``every``-th epoch."""
        z = self.embed(self.draw_views(batch.images))
        with torch.no_grad():
            due = self.seen // self.train_info.num_images % self.every == 0
            own = self.owned[batch.indices]
            own = own[optimal_assignment(squared_distances(z, self.targets[own]), due)]
            self.owned[batch.indices] = own
            self.seen += len(z)
        self.logged["spread"] = spread(z)
        return (z - self.targets[own]).square().sum(1).mean()

    def draw_views(self, images: Tensor) -> Tensor:
        """One view of each image: crop, mirror, grey; floats (N, 3, S, S)."""
        return augment.colour_jitter(
            augment.random_resized_crops(images, scale=(self.scale, 1.0)), jitter=0.0, grey=self.grey
        )

    def embed(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """A view, its output and a target for it as patterns, and the view of another image with the nearest output."""
        views = self.draw_views(batch.images)
        z = self.embed(views)
        noise = self.targets[torch.randint(len(self.targets), (len(z),), device=z.device)]
        distances = squared_distances(z, noise)
        own = optimal_assignment(distances, torch.ones((), dtype=torch.bool, device=z.device))
        to_own, to_all = distances.gather(1, own.unsqueeze(1)).flatten(), distances.mean(1)
        smallest, nearest = squared_distances(z, z).fill_diagonal_(math.inf).min(1)
        return [
            Panel(title="view", images=views),
            Panel(title="its output vector", images=draw_vectors(z)),
            Panel(
                title="its target vector: noise",
                images=draw_vectors(noise[own]),
                captions=tuple(
                    f"squared distance {a:.2f},\nmean over all {b:.2f}"
                    for a, b in zip(to_own.tolist(), to_all.tolist(), strict=True)
                ),
            ),
            Panel(
                title="nearest output of another image",
                images=views[nearest],
                captions=tuple(f"squared distance {distance:.2f}" for distance in smallest.tolist()),
            ),
        ]


@without_autocast
def squared_distances(z: Tensor, targets: Tensor) -> Tensor:
    """Squared distances between unit vectors (N, dim) and (M, dim): (N, M)."""
    return 2 - 2 * z @ targets.T


def draw_vectors(vectors: Tensor) -> Tensor:
    """Unit vectors (N, dim) -> pictures (N, 3, s, s) with one grey cell per number: black is low, white is high."""
    side = math.ceil(math.sqrt(vectors.shape[1]))
    cells = 0.5 + F.pad(vectors, (0, side**2 - vectors.shape[1])) * math.sqrt(vectors.shape[1]) / 5
    return cells.clamp(0, 1).view(-1, 1, side, side).expand(-1, 3, -1, -1)
