"""Any folder of pictures: ``DIR/train/<class>/…`` and ``DIR/test/<class>/…`` (or ``val/``).

``training``, ``testing``, ``valid`` and ``validation`` are other names of the splits.
DIR may be a .zip or .tar archive, which is unpacked once into the cache, and
``train/`` may be inside one other folder. Pictures are turned upright, converted
to RGB, cropped to their central square and resized. Without ``image_size`` they
keep their size if a sample of them has one size of at most 96 pixels; otherwise
they are resized to 64 pixels. Small pictures are decoded once into the cache;
large ones are read on demand.

Pictures of 16-bit integers or floats are scaled by one range for the whole data set:
the lowest and highest value in train, unless ``range`` gives others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from annotated_types import Interval

from . import DatasetInfo
from ._archive import dataset_name
from ._info import tree_info
from ._tree import LAYOUT, Tree, list_tree, locate_root
from ._tree_source import TreeSource
from ._values import check_range

ADVICE = f"a directory, or a .zip or .tar of one, that holds {LAYOUT} with pictures."


@dataclass(frozen=True, kw_only=True)
class Folder(TreeSource):
    """Pictures of a directory; the folders are the classes."""

    name: str | None = None  # in records; by default that of the directory
    range: tuple[Annotated[float, Interval(ge=-1e12, le=1e12)], ...] | None = None
    """low,high: the values that become black and white in pictures of more than 8 bits per value."""

    @cached_property
    def _info(self) -> DatasetInfo:
        name, value_range = dataset_name(self.name, self.data_dir), check_range("folder.range", self.range)
        return tree_info(self._tree, name, self.image_size, value_range)

    @cached_property
    def _tree(self) -> Tree:
        return list_tree(locate_root(self.data_dir, "folder", ADVICE), skip_dead_links=self.skip_unreadable)
