"""What data sets have in common whose pictures are files in class folders."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from ..images.input_spec import InputSpec
from ..plugins.ranges import Count
from . import Dataset, DatasetInfo, DatasetSource
from ._info import has_larger_pictures
from ._pictures import CORES
from ._splits import load_tree
from ._tree import Tree


@dataclass(frozen=True, kw_only=True)
class TreeSource(DatasetSource):
    """Picture files below ``train/<class>/`` and a test folder; a subclass lists and describes them."""

    data_dir: str | None = None
    image_size: Annotated[int, Interval(ge=8, le=1024)] | None = None  # pixels
    skip_unreadable: bool = False  # leave broken pictures out instead of refusing the whole set
    workers: Count = CORES  # threads that decode

    @property
    @abstractmethod
    def _tree(self) -> Tree:
        """The listed files. Raises UserError for any other layout."""

    @property
    @abstractmethod
    def _info(self) -> DatasetInfo:
        """The description of the listed files, whose content is hashed."""

    def check(self) -> DatasetInfo:
        """Describes the listed files, whose content is hashed. Raises UserError for any other layout."""
        return self._info

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits. Raises UserError if pictures cannot be read and are not to be skipped."""
        return load_tree(self._tree, self.check(), skip_unreadable=self.skip_unreadable, workers=self.workers)

    def has_larger_pictures(self) -> bool:
        """Whether the files hold larger pictures than ``load`` gives; not if ``image_size`` was chosen."""
        return self.image_size is None and has_larger_pictures(self._tree, self.check().image_size)

    def load_for(self, input_spec: InputSpec) -> Dataset:
        """Both splits, their pictures resized and cropped exactly as a published network expects."""
        return load_tree(
            self._tree,
            self.check(),
            skip_unreadable=self.skip_unreadable,
            workers=self.workers,
            input_spec=input_spec,
        )
