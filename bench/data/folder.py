"""Any folder of pictures: ``DIR/train/<class>/…`` and ``DIR/test/<class>/…`` (or ``val/``).

``training``, ``testing``, ``valid`` and ``validation`` are other names of the splits.
DIR may be a .zip or .tar archive, which is unpacked once into the cache, and
``train/`` may be inside one other folder. Pictures are turned upright, converted
to RGB, cropped to their central square and resized. Without ``image_size`` they
keep their size if a sample of them has one size of at most 96 pixels; otherwise
they are resized to 64 pixels. Small pictures are decoded once into the cache;
large ones are read on demand, and pretraining then sees squares at random places and
cuts random crops from more pixels than the images have (``crop_margin``).

Pictures that are not divided, ``DIR/<class>/…``, are divided by a hash of their content with ``test_share``.

DIR may hold further targets of the pictures, for protocols that need them:

- ``labels.csv``, or another file that ``labels`` names. Its first line names the columns. ``path`` is a picture's path
  below DIR. A column ``labels`` lists names separated by semicolons, any other column of only 0 and 1 is a label too,
  and the remaining columns are numbers.
- ``masks/``, with the path of each picture and the suffix .png: palette indices or greys are numbers of classes, and
  255 is unknown. ``masks/classes.txt`` may name the classes from 0, one per line.
- ``depth/``, in the same way: 16-bit PNG in millimetres, or .npy of floats in metres.

With these, ``test_share`` also divides a folder without classes. Masks and depth are cropped and resized as the
pictures are.

Pictures of 16-bit integers or floats are scaled by one range for the whole data set:
the lowest and highest value in train, unless ``range`` gives others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Interval

from ..errors import UserError
from ..images.input_spec import InputSpec
from . import Dataset, DatasetInfo
from ._archive import dataset_name
from ._info import tree_info
from ._targets import LABEL_FILE, FolderTargets
from ._tree import LAYOUT, Tree, list_tree, locate_root
from ._tree_source import TreeSource
from ._unsplit import list_unsplit
from ._values import check_range

if TYPE_CHECKING:
    from ._splits import LoadTargets

ADVICE = f"a directory, or a .zip or .tar of one, that holds {LAYOUT} with pictures."
UNSPLIT_ADVICE = " If its folders are the classes, --set folder.test_share=0.2 divides their pictures."


@dataclass(frozen=True, kw_only=True)
class Folder(TreeSource):
    """Pictures of a directory; the folders are the classes."""

    name: str | None = None  # in records; by default that of the directory
    range: tuple[Annotated[float, Interval(ge=-1e12, le=1e12)], ...] | None = None
    """low,high: the values that become black and white in pictures of more than 8 bits per value."""

    labels: str | None = (
        None  # CSV file of labels and numbers, below the directory; by default labels.csv, if it is there
    )
    test_share: Annotated[float, Interval(gt=0, lt=1)] | None = None
    """Share of each class that becomes the test split, if the pictures are not divided; chosen by their content."""

    later_settings: ClassVar = {"labels": None, "test_share": None}

    @property
    def provides(self) -> frozenset[str]:  # type: ignore[override]
        """Labels if there are class folders, and the further targets that are there."""
        return self._targets.provides | ({"labels"} if self._tree.classes else set())

    def target_identity(self, needs: frozenset[str]) -> dict[str, str]:
        """A digest of each further target named in ``needs``. Raises UserError if a picture lacks it."""
        return self._targets.identity(needs)

    def _load(self, input_spec: InputSpec | None, needs: frozenset[str]) -> Dataset:
        return self._targets.with_names(super()._load(input_spec, needs), needs)

    def _load_targets(self, input_spec: InputSpec | None, needs: frozenset[str]) -> LoadTargets | None:
        info = self.check()
        return partial(
            self._targets.load_split,
            needs,
            name=info.name,
            size=info.image_size,
            input_spec=input_spec,
            workers=self.workers,
        )

    @cached_property
    def _targets(self) -> FolderTargets:
        return FolderTargets(self._tree, self.labels)

    @cached_property
    def _info(self) -> DatasetInfo:
        name, value_range = dataset_name(self.name, self.data_dir), check_range("folder.range", self.range)
        if not self.provides:
            raise UserError(
                f"{self._tree.root}: fewer than two class folders, and no {LABEL_FILE}, masks/ or depth/, so nothing "
                "says what the pictures show. Add one of them."
            )
        return tree_info(self._tree, name, self.image_size, value_range)

    @cached_property
    def _tree(self) -> Tree:
        root = locate_root(self.data_dir, "folder", ADVICE)
        if self.test_share is None:
            return list_tree(root, skip_dead_links=self.skip_unreadable, advice=UNSPLIT_ADVICE)
        return list_unsplit(root, self.test_share, skip_dead_links=self.skip_unreadable)
