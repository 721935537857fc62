"""What data sets have in common whose pictures are files in class folders."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from annotated_types import Interval

from ..images.input_spec import InputSpec
from ..plugins.ranges import Count
from . import Dataset, DatasetInfo, DatasetSource
from ._info import has_larger_pictures
from ._pictures import CORES, LazyImages
from ._splits import LoadTargets, is_decoded_at_once, load_tree
from ._training_pictures import TrainingPictures
from ._tree import Tree


@dataclass(frozen=True, kw_only=True)
class TreeSource(DatasetSource):
    """Picture files below ``train/<class>/`` and a test folder; a subclass lists and describes them."""

    data_dir: str | None = None
    image_size: Annotated[int, Interval(ge=8, le=1024)] | None = None  # pixels
    skip_unreadable: bool = False  # leave broken pictures out instead of refusing the whole set
    workers: Count = CORES  # threads that decode
    crop_margin: Annotated[float, Interval(ge=1, le=2)] = 1.5
    """How many times the side of the images pictures have from which pretraining cuts random crops.

    It concerns pictures that are read on demand. With 1, crops are cut from the central squares that probes see.
    """

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
        return self._info_with_crops

    @cached_property
    def _info_with_crops(self) -> DatasetInfo:
        info, size = self._info, self._info.image_size
        on_demand = self.crop_margin > 1 and not is_decoded_at_once(self._tree, size)
        if not (on_demand and has_larger_pictures(self._tree, size, any_side=True)):
            return info
        return replace(info, crop_side=round(self.crop_margin * size))

    def for_pretraining(self, dataset: Dataset) -> Dataset:
        """The data set with a train split that gives random squares, and a larger copy of them to cut crops from."""
        crop_side, images = self.check().crop_side, dataset.train.images
        has_pixel_targets = dataset.train.masks is not None or dataset.train.depth is not None  # of central squares
        if crop_side is None or has_pixel_targets or not isinstance(images, LazyImages):
            return dataset
        return replace(dataset, train=replace(dataset.train, images=TrainingPictures(images, crop_side)))

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits. Raises UserError if pictures cannot be read and are not to be skipped."""
        return self._load(None, needs)

    def has_larger_pictures(self) -> bool:
        """Whether the files hold larger pictures than ``load`` gives; not if ``image_size`` was chosen."""
        return self.image_size is None and has_larger_pictures(self._tree, self.check().image_size)

    def load_for(self, input_spec: InputSpec, needs: frozenset[str] = frozenset()) -> Dataset:
        """Both splits, their pictures resized and cropped exactly as a published network expects."""
        return self._load(input_spec, needs)

    def _load(self, input_spec: InputSpec | None, needs: frozenset[str]) -> Dataset:
        return load_tree(
            self._tree,
            self.check(),
            skip_unreadable=self.skip_unreadable,
            workers=self.workers,
            input_spec=input_spec,
            load_targets=self._load_targets(input_spec, needs),
        )

    def _load_targets(self, input_spec: InputSpec | None, needs: frozenset[str]) -> LoadTargets | None:
        """A function that loads the targets named in ``needs`` with the pictures; None if there are none."""
        return None
