"""Features as the probes read them: checked, standardised, in chunks, with a part held out for validation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...errors import UserError, require
from .label_subset import label_subset

COPY_BYTES = 2**30  # standardised features up to this size stay in memory; larger ones are computed chunk by chunk


class FeatureTable:
    """Features (N, D) centred, and scaled if asked, in float32 chunks. It can be iterated over any number of times.

    Mean and scale are those of the rows where the mask ``keep`` (N,) is true, or of all rows.
    """

    def __init__(self, features: Tensor, *, standardise: bool, keep: Tensor | None = None) -> None:
        self.features, self.chunk = features, rows_per_chunk(features)
        count, mean, square = 0, torch.zeros((), device=features.device), torch.zeros((), device=features.device)
        end = 0
        for x in features.split(self.chunk):  # Chan et al. 1979: combines the variances of parts
            span = slice(end, end := end + len(x))
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
        self._cached_chunks: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        if self.features.numel() * 4 > COPY_BYTES:
            return (self.standardise(x) for x in self.features.split(self.chunk))
        self._cached_chunks = self._cached_chunks or [self.standardise(x) for x in self.features.split(self.chunk)]
        return iter(self._cached_chunks)

    def standardise(self, rows: Tensor) -> Tensor:
        """Rows (n, D) of these or other features, centred and scaled with this table's mean and scale."""
        return (rows.to(self.mean.device, torch.float32) - self.mean).mul_(self.scale)

    def free_memory(self) -> None:
        """Drops the standardised copy; the next iteration computes it again."""
        self._cached_chunks.clear()


def check_features(features: Tensor, labels: Tensor | None = None, num_classes: int = 0) -> Tensor:
    """Checks features (N, D) and labels (N,); returns the labels as int64 on the features' device.

    Raises UserError where a feature is not finite, or a label is not within 0 ... num_classes - 1.
    """
    if features.ndim != 2 or not features.numel():
        raise UserError(
            f"features of shape {tuple(features.shape)}: they must be a matrix of images (N) by features (D)."
        )
    if not all(bool(torch.isfinite(x.sum(dtype=torch.float64))) for x in features.split(rows_per_chunk(features))):
        raise UserError("the features contain NaN or infinite values: check the encoder that computed them.")
    if labels is None:
        return torch.empty(0, dtype=torch.int64)
    require(len(labels) == len(features), "labels", len(labels), f"{len(features)}, one per image")
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0 and high < num_classes, "labels", f"{low} ... {high}", f"within 0 ... {num_classes - 1}")
    return labels.to(features.device, torch.int64)


def rows_per_chunk(features: Tensor) -> int:
    """How many rows of features (N, D) to read at once: as many as fit a processor's cache, or a little GPU memory."""
    return max(64, (2**26 if features.is_cuda else 2**22) // max(1, features.shape[1]))


def training_mask(labels: Tensor, held_out: float, seed: int) -> Tensor:
    """Labels (N,) -> mask (N,), false for the share of each class that is held out for validation.

    At least one image of every class is kept for training.
    """
    require(0 < held_out < 1, "held_out", held_out, "between 0 and 1")
    keep = torch.zeros(len(labels), dtype=torch.bool)
    keep[label_subset(labels, share=1 - held_out, seed=seed)] = True
    return keep.to(labels.device)
