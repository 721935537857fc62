"""Data sets: two splits of images and labels, and the sources that load them.

A file in this folder is a data set plugin. Its ``DatasetSource`` can describe and check the data
without reading the images and without torch, so that a run is planned, or refused, before any work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..plugins.settings import check_fields

if TYPE_CHECKING:
    from torch import Tensor

    from ..images.input_spec import InputSpec


VOID = 255
"""The number in masks of a pixel whose class is unknown."""


class Images(Protocol):
    """The images of a split: a uint8 tensor (N, 3, H, W), or files that are read on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        """Indices (n,) -> uint8 (n, 3, H, W) on the CPU, or on the device where the images are."""
        ...


@dataclass(frozen=True)
class SomeImages:
    """Those of other images that have the indices int64 (n,), read when they are indexed."""

    images: Images
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        return self.images[self.indices[indices]]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their labels, and further targets if they were requested."""

    images: Images
    labels: Tensor  # int64 (N,)
    clips: Tensor | None = None  # uint8 (M, T, 3, H, W)
    clip_masks: Tensor | None = None  # uint8 (M, T, H, W): object numbers, 0 is the background
    masks: Tensor | None = None  # uint8 (N, H, W): positions in `Dataset.mask_classes`, VOID where unknown
    depth: Tensor | None = None  # float32 (N, H, W), metres
    multi_labels: Tensor | None = None  # bool (N, L): which of `Dataset.label_names` apply
    values: Tensor | None = None  # float32 (N, V): the numbers that `Dataset.value_names` name
    captions: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> Split:
        """The images of these indices int64 (n,) with their labels and targets; clips are left out."""
        per_image = {name: getattr(self, name) for name in ("masks", "depth", "multi_labels", "values")}
        return Split(
            images=SomeImages(self.images, indices),
            labels=self.labels[indices],
            captions=self.captions and tuple(self.captions[index] for index in indices.tolist()),
            **{name: None if target is None else target[indices] for name, target in per_image.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A train and a test split over the same classes."""

    name: str
    classes: tuple[str, ...]
    image_size: int  # pixels, square
    train: Split
    test: Split
    mask_classes: tuple[str, ...] = ()  # of the numbers in `Split.masks`
    label_names: tuple[str, ...] = ()  # of the columns of `Split.multi_labels`
    value_names: tuple[str, ...] = ()  # of the columns of `Split.values`


@dataclass(frozen=True, kw_only=True)
class DatasetSource(ABC):
    """Describes, checks and loads a data set; its fields are its settings.

    The class of a plugin is named like its file. Problems with the data should be found
    by ``check``, before any work.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __post_init__(self) -> None:
        """Checks each setting against the range that its annotation declares. Raises UserError."""
        check_fields(self)

    def target_identity(self, needs: frozenset[str]) -> dict[str, str]:
        """A digest of each target named in ``needs`` that ``DatasetInfo.identity`` does not cover.

        Only measurements that need such a target depend on it. Raises UserError if a target cannot be used.
        """
        return {}

    @abstractmethod
    def check(self) -> DatasetInfo:
        """Describes the data without decoding images. Raises UserError if they cannot be used."""

    def has_larger_pictures(self) -> bool:
        """Whether the files hold larger pictures than ``load`` gives, so that ``load_for`` can read them."""
        return False

    def load_for(self, input_spec: InputSpec, needs: frozenset[str] = frozenset()) -> Dataset:
        """The data set, its pictures resized and cropped from their files exactly as a published network expects."""
        raise NotImplementedError

    def for_pretraining(self, dataset: Dataset) -> Dataset:
        """The data set of ``load`` as methods are pretrained on it; another one if ``DatasetInfo.crop_side`` is set."""
        return dataset

    @abstractmethod
    def load(self, needs: frozenset[str]) -> Dataset:
        """Loads the images, from the cache if they are in it, and the further targets named in ``needs``."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known about a data set before its images are read."""

    name: str  # as in records: "synthetic", "cifar10", or the folder's name
    identity: str  # hex digest that changes with the images, the labels or their preparation
    image_size: int  # pixels, square
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    per_class: int | None = None  # train images in the smallest class, if known
    crop_side: int | None = None  # pixels of the squares from which pretraining cuts crops, if above ``image_size``
    value_range: tuple[float, float] | None = None  # values that become 0 and 255, where pictures have over 8 bits
