"""Nested, stratified subsets of the train images, for protocols that use few labels."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ...errors import UserError


def label_subset(labels: Tensor, *, per_class: int | None = None, share: float = 1.0, seed: int = 0) -> Tensor:
    """Labels (N,) -> ascending indices (n,) of the images in the subset.

    The subset has ``per_class`` images of every class, or else the given share of each class, at least one image.
    With the same seed a smaller subset is contained in every larger one. Raises UserError where a class is too small.
    """
    _, classes, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    if per_class is not None and per_class > int(counts.min()):
        smallest = int(labels[classes == counts.argmin()][0])
        raise UserError(
            f"{per_class} labels per class: class {smallest} has only {int(counts.min())} train images; ask for fewer."
        )
    wanted = (counts * share).round().long().clamp_min(1) if per_class is None else torch.full_like(counts, per_class)
    return (rank_in_class(labels, seed) < wanted[classes]).nonzero()[:, 0]


def rank_in_class(labels: Tensor, seed: int) -> Tensor:
    """Labels (N,) -> the place (N,) of each image in a random order of the images of its class, from 0."""
    _, classes, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    shuffled = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[torch.argsort(classes[shuffled], stable=True)]
    rank = torch.empty_like(shuffled)
    rank[by_class] = torch.arange(len(by_class)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return rank


def subset_digest(indices: Tensor) -> str:
    """Hex digest of indices (n,): equal subsets have equal digests."""
    return hashlib.sha256(indices.to(torch.int64).numpy().astype("<i8").tobytes()).hexdigest()[:16]
