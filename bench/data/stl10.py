"""STL-10: 13,000 labelled photographs of ten kinds of things, 96 pixels wide.

Coates, Lee and Ng, "An Analysis of Single-Layer Networks in Unsupervised
Feature Learning", AISTATS 2011. https://cs.stanford.edu/~acoates/stl10/

Its 100,000 unlabelled pictures are not used: in a split of ours every image has
a label, and all methods pretrain on the train split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Dataset, Facts, Source
from bench.data._published import Pictures, Published


def read(root: str, train: bool) -> tuple[Pictures, Any]:
    from torchvision.datasets import STL10  # type: ignore[import-untyped, unused-ignore]

    found = STL10(root, split="train" if train else "test")
    return np.asarray(found.data).transpose(0, 2, 3, 1), np.asarray(found.labels)


PUBLISHED = Published(
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


@dataclass(frozen=True, kw_only=True)
class Stl10(Source):
    """The labelled part of STL-10 as published."""

    data_dir: str | None = None  # where the files are or will be put; by default the cache
    image_size: int | None = None  # pixels; by default 96

    def check(self) -> Facts:
        """The published facts; UserError where ``data_dir`` cannot hold the files."""
        return PUBLISHED.facts(self.data_dir, self.image_size)

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits; downloads them the first time."""
        return PUBLISHED.load(self.data_dir, self.image_size)
