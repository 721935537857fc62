"""CIFAR-10: 60,000 photographs of ten kinds of animals and vehicles, 32 pixels wide.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
https://www.cs.toronto.edu/~kriz/cifar.html

Its files are pickles, which can run code; torchvision compares their MD5 with
the published ones before it opens them, and we rely on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Dataset, Facts, Source
from bench.data._published import Pictures, Published


def read(root: str, train: bool) -> tuple[Pictures, Any]:
    from torchvision.datasets import CIFAR10  # type: ignore[import-untyped, unused-ignore]

    found = CIFAR10(root, train=train)
    return found.data, np.asarray(found.targets)


PUBLISHED = Published(
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


@dataclass(frozen=True, kw_only=True)
class Cifar10(Source):
    """CIFAR-10 as published."""

    data_dir: str | None = None  # where the files are or will be put; by default the cache
    image_size: int | None = None  # pixels; by default 32

    def check(self) -> Facts:
        """The published facts; UserError where ``data_dir`` cannot hold the files."""
        return PUBLISHED.facts(self.data_dir, self.image_size)

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits; downloads them the first time."""
        return PUBLISHED.load(self.data_dir, self.image_size)
