"""CIFAR-100: 60,000 photographs of a hundred kinds of things, 32 pixels wide.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
https://www.cs.toronto.edu/~kriz/cifar.html

The labels are the 100 fine classes. As in CIFAR-10 the files are pickles, and
torchvision opens them only if their MD5 is the published one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._downloadable import DownloadableDataset, DownloadableSource, Pictures

CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


def read_split(root: str, train: bool) -> tuple[Pictures, Any]:
    """Pictures (N, 32, 32, 3) and labels of a split; RuntimeError if the files are missing or damaged."""
    from torchvision.datasets import CIFAR100  # type: ignore[import-untyped, unused-ignore]

    cifar = CIFAR100(root, train=train)
    return cifar.data, np.asarray(cifar.targets)


class Cifar100(DownloadableSource):
    """CIFAR-100 as published."""

    dataset = DownloadableDataset(
        name="cifar100",
        classes=tuple(CLASSES.split()),
        train_images=50_000,
        test_images=10_000,
        image_size=32,
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        folder="cifar-100-python",
        files=("train", "test", "meta"),
        read=read_split,
    )
