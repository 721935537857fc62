"""CIFAR-10: 60,000 photographs of ten kinds of animals and vehicles, 32 pixels wide.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
https://www.cs.toronto.edu/~kriz/cifar.html

Its files are pickles, which can run code; torchvision compares their MD5 with
the published ones before it opens them, and we rely on that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._published import Pictures, Published, PublishedSource


def read(root: str, train: bool) -> tuple[Pictures, Any]:
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped, unused-ignore]

    found = CIFAR10(root, train=train)
    return found.data, np.asarray(found.targets)


class Cifar10(PublishedSource):
    """CIFAR-10 as published."""

    published = Published(
        name="cifar10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        train_images=50_000,
        test_images=10_000,
        image_size=32,
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        read=read,
    )
