"""Describes a tree of picture files: its size, its identity, and what a user should know about it."""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np

from ..errors import require
from . import DatasetInfo
from ._pictures import PREPARATION, side_lengths
from ._rgb import ValueRange
from ._tree import Tree
from ._values import find_value_range

SMALL = 96  # pixels: pictures up to this size are small and keep their size
DEFAULT_SIZE = 64  # pixels, of larger pictures and of those with several sizes
MEASURED_AS = {
    # results/cifar10-jpeg was measured under an identity made of all lengths and a sample of 64 files. The key covers
    # every byte of the same pictures, so only they are found under that name.
    "7c3546be4ceb3bc51ceabaa741670a1eb07cb9e61d93f73d415e28ee4ca68ef2": (
        "1469677505cad298a32860bc83e71c24d3845a5fc7480f2f6357fd961c7547f6"
    ),
}


def default_image_size(tree: Tree) -> int:
    """The pictures' own size in pixels, if all of a sample have the same small one; otherwise 64."""
    sizes = {size for path in tree.train.sample() if (size := side_lengths(path))}
    if len(sizes) == 1:
        shorter, longer = sizes.pop()
        if shorter >= 8 and longer <= SMALL:
            return shorter
    return DEFAULT_SIZE


def has_larger_pictures(tree: Tree, size: int, *, any_side: bool = False) -> bool:
    """Whether a picture of a sample has a shorter side of more than ``size`` pixels, or any side with ``any_side``."""
    return any(sides[any_side] > size for path in tree.train.sample() if (sides := side_lengths(path)))


def tree_info(tree: Tree, name: str, image_size: int | None, value_range: ValueRange | None = None) -> DatasetInfo:
    """Describes the tree and reports what in it is not used; ``value_range`` is the one that a setting gives.

    The identity covers every byte. It does not depend on where the files are or when they were copied.
    """
    if image_size is not None:
        require(8 <= image_size <= 1024, "image_size", image_size, "from 8 to 1024 pixels")
    size = image_size or default_image_size(tree)
    parts = [PREPARATION, size, tree.classes, tree.train.digest, tree.test.digest, value_range]
    identity = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    for remark in (*tree.remarks, *repeated_pictures(tree)):
        logging.getLogger(__name__).warning("%s: %s", tree.root, remark)
    return DatasetInfo(
        name=name,
        identity=MEASURED_AS.get(identity, identity),
        image_size=size,
        classes=tree.classes,
        train_images=len(tree.train),
        test_images=len(tree.test),
        per_class=int(np.bincount(tree.train.labels).min()) if tree.classes else None,
        value_range=find_value_range(tree.root, tree.train, tree.test, value_range),
    )


def repeated_pictures(tree: Tree) -> list[str]:
    """A sentence on test pictures whose bytes equal those of a train picture, if there are any."""
    train = dict(zip(tree.train.hashes, tree.train.paths, strict=True))
    repeated = [
        (path, train[content])
        for path, content in zip(tree.test.paths, tree.test.hashes, strict=True)
        if content in train
    ]
    if not repeated:
        return []
    test_path, train_path = repeated[0]
    return [
        f"{len(repeated):,} of {len(tree.test):,} test pictures are also in train, such as {test_path} = {train_path}. "
        "Accuracies on them say nothing about new pictures."
    ]
