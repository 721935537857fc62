"""At most so many images of each split, for a quick look: part of the data's identity, so never ranked with all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..data import Dataset, DatasetInfo, Split
from ..errors import UserError
from ..storage.hashing import fingerprint

if TYPE_CHECKING:
    from torch import Tensor


def is_limited(info: DatasetInfo, limit: int | None) -> bool:
    """Whether a split has more images than the limit; None is no limit."""
    return limit is not None and limit < max(info.train_images, info.test_images)


def limited_info(info: DatasetInfo, limit: int) -> DatasetInfo:
    """The description of at most ``limit`` images per split. Raises UserError if there are more classes than that."""
    classes = len(info.classes)
    if limit < classes:
        raise UserError(
            f"--limit {limit}: {info.name} has {classes} classes, and each needs an image; use {classes} or more."
        )
    train_images = min(limit, info.train_images)
    per_class = info.per_class
    if per_class is not None and train_images < info.train_images:
        per_class = min(per_class, limit // classes)
    return replace(
        info,
        identity=fingerprint({"data": info.identity, "limit": limit}),
        train_images=train_images,
        test_images=min(limit, info.test_images),
        per_class=per_class,
    )


def limited_dataset(dataset: Dataset, limit: int) -> Dataset:
    """The data set with at most ``limit`` images and ``limit`` clips per split."""
    return replace(dataset, train=limited_split(dataset.train, limit), test=limited_split(dataset.test, limit))


def limited_split(split: Split, limit: int) -> Split:
    """At most ``limit`` images, of all classes alike, and ``limit`` clips, evenly spaced."""
    from ..evaluation.feature_spec import evenly_spaced

    limited = split.subset(balanced_indices(split.labels, limit)) if limit < len(split) else split
    if split.clips is None or (limited is split and len(split.clips) <= limit):
        return limited
    chosen = evenly_spaced(len(split.clips), limit)
    masks = None if split.clip_masks is None else split.clip_masks[chosen]
    return replace(limited, clips=split.clips[chosen], clip_masks=masks)


def balanced_indices(labels: Tensor, limit: int) -> Tensor:
    """Indices int64 (limit,), rising, of images whose classes have as equal numbers of images as the labels (N,) allow.

    Which images of a class are chosen is random but always the same, and a smaller limit chooses among them.
    """
    import torch

    classes = labels.numpy()
    order = np.random.default_rng(0).permutation(len(classes))
    by_class = order[np.argsort(classes[order], kind="stable")]
    _, starts, images = np.unique(classes[by_class], return_index=True, return_counts=True)
    place_in_class = np.arange(len(by_class)) - np.repeat(starts, images)
    turns = np.lexsort((classes[by_class], place_in_class))  # the first image of each class, then the second, ...
    return torch.from_numpy(np.sort(by_class[turns[:limit]]))
