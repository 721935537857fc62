"""What all probes do with rows of features: check them, read them in chunks, hold some out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...errors import UserError, require
from .label_subset import label_subset

COPY_BYTES = 2**30  # prepared features up to this size are kept; larger ones are prepared again chunk by chunk


class Table:
    """Rows of features, centred and if asked scaled, in float32 chunks; iterate over it as often as needed.

    Mean and scale are those of the rows to ``keep`` (N,), or of all.
    """

    def __init__(self, features: Tensor, *, standardise: bool, keep: Tensor | None = None) -> None:
        self.features, self.chunk = features, chunk_rows(features)
        count, mean, square = 0, torch.zeros((), device=features.device), torch.zeros((), device=features.device)
        at = 0
        for x in features.split(self.chunk):  # Chan et al. 1979: variances of parts into the variance of the whole
            span = slice(at, at := at + len(x))
            x = x if keep is None else x[keep[span]]
            if not len(x):
                continue
            variance, centre = torch.var_mean(x.float(), dim=0, correction=0)
            delta, share = centre.double() - mean, len(x) / (count + len(x))
            square = square + variance.double() * len(x) + delta.square() * (count * share)
            mean, count = mean + delta * share, count + len(x)
        std = (square / count).sqrt()
        varies = std > 1e-6 * mean.abs() + 1e-30
        self.mean = mean.float()
        self.scale = torch.where(varies, 1 / std, 0).float() if standardise else torch.ones_like(self.mean)
        self.kept: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        if self.features.numel() * 4 > COPY_BYTES:
            return (self.prepare(x) for x in self.features.split(self.chunk))
        self.kept = self.kept or [self.prepare(x) for x in self.features.split(self.chunk)]
        return iter(self.kept)

    def prepare(self, rows: Tensor) -> Tensor:
        """Rows (n, D) of these or other features, centred and scaled like the table's."""
        return (rows.to(self.mean.device, torch.float32) - self.mean).mul_(self.scale)


def check(features: Tensor, labels: Tensor | None = None, classes: int = 0) -> Tensor:
    """The labels as int64 beside the features (N, D), or one line on what is wrong with either."""
    if features.ndim != 2 or not features.numel():
        raise UserError(f"Features of shape {tuple(features.shape)}: there must be images (N) with features (D).")
    if not all(bool(torch.isfinite(x.sum(dtype=torch.float64))) for x in features.split(chunk_rows(features))):
        raise UserError("The features hold NaN or infinite numbers: look at the encoder that made them.")
    if labels is None:
        return torch.empty(0, dtype=torch.int64)
    require(len(labels) == len(features), "labels", len(labels), f"{len(features)}, one per image")
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0 and high < classes, "labels", f"{low} ... {high}", f"within 0 ... {classes - 1}")
    return labels.to(features.device, torch.int64)


def chunk_rows(features: Tensor) -> int:
    """How many rows to read at once: what a processor's cache, or a small part of a GPU's memory, holds."""
    return max(64, (2**26 if features.is_cuda else 2**22) // max(1, features.shape[1]))


def training_part(labels: Tensor, held_out: float, seed: int) -> Tensor:
    """Which rows (N,) to train on: all but a share of each class; one image of a class always stays."""
    require(0 < held_out < 1, "held_out", held_out, "between 0 and 1")
    keep = torch.zeros(len(labels), dtype=torch.bool)
    keep[label_subset(labels, share=1 - held_out, seed=seed)] = True
    return keep.to(labels.device)
