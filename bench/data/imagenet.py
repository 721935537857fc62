"""ImageNet (ILSVRC 2012), or some of its classes, from folders named by WordNet numbers.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV
2015. https://arxiv.org/abs/1409.0575

Nothing is downloaded, because users have to accept the licence in person. The
50,000 ``val`` pictures are our test split, because the labels of the official
test split were never published.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from ..errors import UserError
from . import DatasetInfo
from ._info import tree_info
from ._tree import Tree, list_tree, locate_root
from ._tree_source import TreeSource

ADVICE = (
    "a directory with train/<wnid>/*.JPEG and val/<wnid>/*.JPEG. Download ILSVRC2012_img_train.tar, "
    "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from https://image-net.org into it; "
    "torchvision.datasets.ImageNet(DIR, split=...) unpacks them into this layout, once for 'train' and once for 'val'."
)


@dataclass(frozen=True, kw_only=True)
class ImageNet(TreeSource):
    """Photographs of a thousand classes, or of fewer if the directory holds fewer; 224 pixels by default."""

    @cached_property
    def _info(self) -> DatasetInfo:
        tree = self._tree
        name = "imagenet" if len(tree.classes) == 1000 else f"imagenet{len(tree.classes)}"
        return tree_info(tree, name, 224 if self.image_size is None else self.image_size)

    @cached_property
    def _tree(self) -> Tree:
        root = locate_root(self.data_dir, "imagenet", ADVICE)
        missing = [split for split in ("train", "val") if not (root / split).is_dir()]
        if missing:
            raise UserError(f"{root}: no {missing[0]} split. --dataset imagenet expects {ADVICE}")
        tree = list_tree(root, test_names=("val",), skip_dead_links=self.skip_unreadable)
        unknown = [name for name in tree.classes if not re.fullmatch(r"n\d{8}", name)]
        if unknown:
            raise UserError(
                f"{root / 'train'}: {unknown[0]!r} is not a WordNet number such as n01440764. "
                "For other pictures than ImageNet's use --dataset folder."
            )
        return tree
