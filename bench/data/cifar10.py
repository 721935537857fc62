"""CIFAR-10: 60,000 photographs of ten kinds of animals and vehicles, 32 pixels wide.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
https://www.cs.toronto.edu/~kriz/cifar.html

The files are pickles, and opening a pickle can run code. torchvision opens them
only if their MD5 is the published one, and we rely on that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._downloadable import DownloadableDataset, DownloadableSource, Pictures


def read_split(root: str, train: bool) -> tuple[Pictures, Any]:
    """Pictures (N, 32, 32, 3) and labels of a split; RuntimeError if the files are missing or damaged."""
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped, unused-ignore]

    cifar = CIFAR10(root, train=train)
    return cifar.data, np.asarray(cifar.targets)


class Cifar10(DownloadableSource):
    """CIFAR-10 as published."""

    dataset = DownloadableDataset(
        name="cifar10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        train_images=50_000,
        test_images=10_000,
        image_size=32,
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        read=read_split,
    )
