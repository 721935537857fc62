"""STL-10: 13,000 labelled photographs of ten kinds of things, 96 pixels wide.

Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised
Feature Learning", AISTATS 2011. https://cs.stanford.edu/~acoates/stl10/

Its 100,000 unlabelled pictures are not used: in a split of ours every image has
a label, and all methods pretrain on the train split.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._published import Pictures, Published, PublishedSource


def read(root: str, train: bool) -> tuple[Pictures, Any]:
    from torchvision.datasets import STL10  # type: ignore[import-untyped, unused-ignore]

    found = STL10(root, split="train" if train else "test")
    return np.asarray(found.data).transpose(0, 2, 3, 1), np.asarray(found.labels)


class Stl10(PublishedSource):
    """The labelled part of STL-10 as published."""

    published = Published(
        name="stl10",
        classes=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
        train_images=5_000,
        test_images=8_000,
        image_size=96,
        url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        folder="stl10_binary",
        files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"),
        read=read,
    )
