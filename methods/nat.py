"""Noise as targets (NAT): move each image to a point of the sphere, drawn at random, that is its alone.

Bojanowski and Joulin, "Unsupervised Learning by Predicting Noise", ICML 2017.
https://arxiv.org/abs/1704.05310

Targets are as many as images, uniform on the unit sphere, and never move, so
outputs cannot collapse. Which image has which target is learned too: the images
of a batch swap theirs by the Hungarian method, so that squared distances sum
lowest (section 3.3). Images that look alike come to have targets that are near.

Where we differ: the paper takes colours away by filtering images with Sobel's
gradients; we turn views grey (``grey``), so that the encoder is probed on what it
was trained on. Runs of few epochs swap targets in each of them, and have few
dimensions, since only there does a batch hold a target near to every output.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._assignment import assigned
from ._heads import spread


class Nat(Method):
    """Regresses unit outputs on unit targets that the batch has just shared out among its images."""

    targets: Tensor  # (images, dim)
    owned: Tensor  # int64 (images,), the target of each image
    seen: Tensor  # int64 (), images trained on so far
    short_run_settings: ClassVar = {"dim": 16, "every": 1}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        dim: int = 128,
        every: int = 3,
        grey: float = 1.0,
        scale: float = 0.2,
    ) -> None:
        super().__init__(encoder, facts)
        require(dim >= 2, "nat.dim", dim, "at least 2")
        require(every >= 1, "nat.every", every, "a number of epochs, at least 1")
        require(0 <= grey <= 1, "nat.grey", grey, "a probability")
        require(0 < scale <= 1, "nat.scale", scale, "a share of the area, above 0 to 1")
        self.every, self.grey, self.scale = every, grey, scale
        self.head = nn.Linear(encoder.dim, dim)
        self.register_buffer("targets", F.normalize(torch.randn(facts.images, dim), dim=1))
        self.register_buffer("owned", torch.randperm(facts.images))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Batch) -> Tensor:
        """Squared distance of each output to its image's target, after the batch has swapped targets if it is due."""
        z = self.outputs(self.views(batch.images))
        with torch.no_grad():
            due = self.seen // self.facts.images % self.every == 0
            own = self.owned[batch.indices]
            own = own[assigned(distances(z, self.targets[own]), due)]
            self.owned[batch.indices] = own
            self.seen += len(z)
        self.logged["spread"] = spread(z)
        return (z - self.targets[own]).square().sum(1).mean()

    def views(self, images: Tensor) -> Tensor:
        """Crops, mirrored or not, some of them grey: floats (N, 3, S, S)."""
        return augment.recoloured(augment.resized_crops(images, scale=(self.scale, 1.0)), jitter=0.0, grey=self.grey)

    def outputs(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def panels(self, batch: Batch) -> list[Panel]:
        """A view, its output and its target as patterns, and the image of the batch whose output is nearest."""
        views = self.views(batch.images)
        z = self.outputs(views)
        noise = self.targets[torch.randint(len(self.targets), (len(z),), device=z.device)]
        far = distances(z, noise)
        own = assigned(far, torch.ones((), dtype=torch.bool, device=z.device))
        close, nearest = distances(z, z).fill_diagonal_(math.inf).min(1)
        told = zip(far.gather(1, own.unsqueeze(1)).flatten().tolist(), far.mean(1).tolist(), strict=True)
        return [
            Panel(title="view", images=views),
            Panel(title="its output", images=pattern(z)),
            Panel(
                title="its target: noise",
                images=pattern(noise[own]),
                captions=tuple(f"squared distance {own:.2f},\non average {all:.2f}" for own, all in told),
            ),
            Panel(
                title="nearest output of another image",
                images=views[nearest],
                captions=tuple(f"squared distance {distance:.2f}" for distance in close.tolist()),
            ),
        ]


def distances(z: Tensor, targets: Tensor) -> Tensor:
    """Squared distances between unit vectors (N, dim) and (M, dim): (N, M)."""
    with torch.autocast(z.device.type, enabled=False):
        return 2 - 2 * z @ targets.T


def pattern(vectors: Tensor) -> Tensor:
    """Unit vectors (N, dim) as pictures (N, 3, s, s), a grey cell a number: black is low, white high."""
    side = math.ceil(math.sqrt(vectors.shape[1]))
    cells = 0.5 + F.pad(vectors, (0, side**2 - vectors.shape[1])) * math.sqrt(vectors.shape[1]) / 5
    return cells.clamp(0, 1).view(-1, 1, side, side).expand(-1, 3, -1, -1)
