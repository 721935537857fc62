"""STL-10: 13,000 labelled photographs of ten kinds of things, 96 pixels wide.

Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised
Feature Learning", AISTATS 2011. https://cs.stanford.edu/~acoates/stl10/

Its 100,000 unlabelled pictures are not used, because all methods pretrain on the
train split, in which every image has a label.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._downloadable import DownloadableDataset, DownloadableSource, Pictures


def read_split(root: str, train: bool) -> tuple[Pictures, Any]:
    """Pictures (N, 96, 96, 3) and labels of a split; RuntimeError if the files are missing or damaged."""
    from torchvision.datasets import STL10  # type: ignore[import-untyped, unused-ignore]

    stl10 = STL10(root, split="train" if train else "test")
    return np.asarray(stl10.data).transpose(0, 2, 3, 1), np.asarray(stl10.labels)


class Stl10(DownloadableSource):
    """The labelled part of STL-10 as published."""

    dataset = DownloadableDataset(
        name="stl10",
        classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
        train_images=5_000,
        test_images=8_000,
        image_size=96,
        url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        folder="stl10_binary",
        files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"),
        read=read_split,
    )
