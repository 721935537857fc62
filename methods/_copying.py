"""Copying colours from frame to frame: which colours there are, where attention points, what a copy costs.

Colours are classes of the a*b* plane by mini-batch k-means (Sculley, "Web-Scale K-Means Clustering",
WWW 2010): each centre is the mean of all colours that were ever nearest to it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import augment, colour

from ._quarter import quartered

UNSEEN = 0.01  # chance that a place has any of the colours, whatever is copied
SPREAD = 40.0  # of a* and b*, over which the centres lie at first
GOLDEN = math.pi * (3 - math.sqrt(5))  # angle that spreads points evenly over a disc


class Clusters(nn.Module):
    """K classes of colour whose centres follow what they are shown in training."""

    centres: Tensor  # (K, 2)
    counts: Tensor  # (K,), colours that each centre is the mean of

    def __init__(self, K: int) -> None:
        super().__init__()
        order = torch.arange(K)
        radius, angle = SPREAD * order / K, GOLDEN * order  # densest at grey, as colours are
        self.register_buffer("centres", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
        self.register_buffer("counts", torch.ones(K))

    def __len__(self) -> int:
        return len(self.centres)

    def forward(self, ab: Tensor) -> Tensor:
        """a*, b* (..., 2) -> the nearest centre's number, int64 (...); in training the centres follow first."""
        with torch.autocast(ab.device.type, enabled=False):
            colours = ab.detach().float().flatten(0, -2)
            if self.training:
                ours = F.one_hot(self.nearest(colours), len(self)).float()  # (P, K)
                many = ours.sum(0)
                self.counts += many
                self.centres += (ours.T @ colours - many.unsqueeze(1) * self.centres) / self.counts.unsqueeze(1)
            return self.nearest(colours).view(ab.shape[:-1])

    def nearest(self, colours: Tensor) -> Tensor:
        """(P, 2) -> (P,)"""
        return (colours.unsqueeze(1) - self.centres).square().sum(2).argmin(1)


def chroma(frames: Tensor) -> Tensor:
    """Frames (N, T, 3, S, S) -> a* and b* of the P places of a quarter of their resolution (N, T, P, 2)."""
    return quartered(colour.lab(frames.flatten(0, 1)))[:, 1:].flatten(2).transpose(1, 2).unflatten(0, frames.shape[:2])


@augment.in_full_precision
def pointed(target: Tensor, references: Tensor, temperature: float) -> Tensor:
    """Embeddings (N, P, dim) and (N, Q, dim) -> softmax of their inner products over the references (N, P, Q)."""
    return (target.float() @ references.float().transpose(1, 2) / temperature).softmax(2)


@augment.in_full_precision
def mixed(attention: Tensor, values: Tensor) -> Tensor:
    """Attention (N, P, Q) and values (N, Q, K) -> the mix that each place copies (N, P, K)."""
    return attention @ values


def surprise(copied: Tensor, truth: Tensor) -> Tensor:
    """Shares of the clusters (N, P, K) and the true ones (N, P) -> mean nats."""
    likely = (1 - UNSEEN) * copied + UNSEEN / copied.shape[2]
    return -likely.gather(2, truth.unsqueeze(2)).log().mean()
