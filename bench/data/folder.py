"""Any folder of pictures: ``DIR/train/<class>/…`` and ``DIR/test/<class>/…`` (or ``val/``).

DIR may be a .zip or .tar archive, which is unpacked once into the cache, and one
folder may be wrapped around ``train/``. Pictures are turned upright, made RGB,
resized and cropped to their central square. Without ``image_size`` they keep
their size if a sample of them has one size of at most 96 pixels; else they
become 64 pixels. Small pictures are decoded once and kept in the cache; large
ones are read when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..errors import require
from . import Dataset, DatasetInfo, DatasetSource
from ._archive import name_of
from ._pictures import cores
from ._splits import dataset
from ._tree import LAYOUT, Tree, facts, grown, located

ADVICE = f"a directory, or a .zip or .tar of one, that holds {LAYOUT} with pictures."


@dataclass(frozen=True, kw_only=True)
class Folder(DatasetSource):
    """A directory's pictures, whose folders are their classes."""

    data_dir: str | None = None
    image_size: int | None = None  # pixels
    name: str | None = None  # in records; by default the directory's
    skip_unreadable: bool = False  # leave broken pictures out instead of refusing the whole set
    workers: int = cores()  # threads that decode

    def check(self) -> DatasetInfo:
        """Facts of the listing and of a sample's heads; UserError if the layout is not the expected one."""
        require(self.workers >= 1, "workers", self.workers, "at least 1")
        name = name_of(self.name, self.data_dir)
        return facts(self._tree, name, self.image_size)

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits; UserError naming the pictures that cannot be read, if they are not to be skipped."""
        return dataset(self._tree, self.check(), skip_unreadable=self.skip_unreadable, workers=self.workers)

    @cached_property
    def _tree(self) -> Tree:
        return grown(located(self.data_dir, "folder", ADVICE))
