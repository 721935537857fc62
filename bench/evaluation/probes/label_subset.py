"""Few-label splits: which images of train have a label where only some do."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ...errors import UserError


def label_subset(labels: Tensor, *, per_class: int | None = None, share: float = 1.0, seed: int = 0) -> Tensor:
    """Places (n,), ascending, of ``per_class`` images of every class, or of a share of each class and one at least.

    Whoever asks for more gets the same and others besides. Raises UserError where a class has fewer than asked for.
    """
    _, classes, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    if per_class is not None and per_class > int(counts.min()):
        place = int(labels[classes == counts.argmin()][0])
        raise UserError(
            f"{per_class} labels per class: class {place} has only {int(counts.min())} train images; ask for fewer."
        )
    wanted = (counts * share).round().long().clamp_min(1) if per_class is None else torch.full_like(counts, per_class)
    shuffled = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    order = shuffled[torch.argsort(classes[shuffled], stable=True)]  # class by class
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return order[rank < wanted.repeat_interleave(counts)].sort().values


def subset_digest(rows: Tensor) -> str:
    """Hex digest of places in a split: equal for equal choices."""
    return hashlib.sha256(rows.to(torch.int64).numpy().astype("<i8").tobytes()).hexdigest()[:16]
