"""Copying colours between video frames: clusters of colours, attention to reference frames, and the loss.

The a*b* plane is clustered by mini-batch k-means (Sculley, "Web-Scale K-Means Clustering", WWW 2010):
each centre is the mean of all colours that were ever nearest to it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import colour, without_autocast

from ._quarter import average_to_quarter

SMOOTHING = 0.01  # probability mixed in uniformly, so that a colour that no reference has costs finitely many nats
RADIUS = 40.0  # the initial centres are spread over a disc of this radius in the a*b* plane
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # spreads points evenly over a disc


class ColourClusters(nn.Module):
    """K clusters of colours, whose centres are updated with every batch during training."""

    centres: Tensor  # (K, 2)
    counts: Tensor  # (K,), number of colours that each centre is the mean of

    def __init__(self, K: int) -> None:
        super().__init__()
        order = torch.arange(K)
        radius, angle = RADIUS * order / K, GOLDEN_ANGLE * order  # densest at grey, like the colours of photographs
        self.register_buffer("centres", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
        self.register_buffer("counts", torch.ones(K))

    def __len__(self) -> int:
        return len(self.centres)

    def forward(self, ab: Tensor) -> Tensor:
        """a* and b* (..., 2) -> index of the nearest centre, int64 (...); in training the centres are updated first."""
        with torch.autocast(ab.device.type, enabled=False):
            colours = ab.detach().float().flatten(0, -2)
            if self.training:
                members = F.one_hot(self.nearest_centres(colours), len(self)).float()  # (P, K)
                added = members.sum(0)
                self.counts += added
                self.centres += (members.T @ colours - added.unsqueeze(1) * self.centres) / self.counts.unsqueeze(1)
            return self.nearest_centres(colours).view(ab.shape[:-1])

    def nearest_centres(self, colours: Tensor) -> Tensor:
        """Colours (P, 2) -> index of the nearest centre of each, int64 (P,)."""
        return (colours.unsqueeze(1) - self.centres).square().sum(2).argmin(1)


def quarter_chroma(frames: Tensor) -> Tensor:
    """Frames (N, T, 3, S, S) -> a* and b* at a quarter of the resolution, P places per frame: (N, T, P, 2)."""
    ab = average_to_quarter(colour.rgb_to_lab(frames.flatten(0, 1)))[:, 1:]
    return ab.flatten(2).transpose(1, 2).reshape(*frames.shape[:2], -1, 2)


@without_autocast
def attention_weights(target: Tensor, references: Tensor, temperature: float) -> Tensor:
    """Embeddings (N, P, dim) and (N, Q, dim) -> softmax over the references of their inner products (N, P, Q)."""
    return (target.float() @ references.float().transpose(1, 2) / temperature).softmax(2)


@without_autocast
def copy_values(attention: Tensor, values: Tensor) -> Tensor:
    """Attention (N, P, Q) and values (N, Q, K) -> the weighted mean that each place copies (N, P, K)."""
    return attention @ values


def copy_cross_entropy(copied: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy in nats of copied cluster probabilities (N, P, K) and the true clusters (N, P), a scalar."""
    probabilities = (1 - SMOOTHING) * copied + SMOOTHING / copied.shape[2]
    return -probabilities.gather(2, truth.unsqueeze(2)).log().mean()
