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


class Images(Protocol):
    """The images of a split: a uint8 tensor (N, 3, H, W), or files that are read on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        """Indices (n,) -> uint8 (n, 3, H, W) on the CPU, or on the device where the images are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their labels, and further targets if they were requested."""

    images: Images
    labels: Tensor  # int64 (N,)
    clips: Tensor | None = None  # uint8 (M, T, 3, H, W)
    masks: Tensor | None = None  # uint8 (M, T, H, W): object numbers, 0 is the background
    depth: Tensor | None = None  # float32 (N, H, W), metres
    captions: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A train and a test split over the same classes."""

    name: str
    classes: tuple[str, ...]
    image_size: int  # pixels, square
    train: Split
    test: Split


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

    @abstractmethod
    def check(self) -> DatasetInfo:
        """Describes the data without decoding images. Raises UserError if they cannot be used."""

    def has_larger_pictures(self) -> bool:
        """Whether the files hold larger pictures than ``load`` gives, so that ``load_for`` can read them."""
        return False

    def load_for(self, input_spec: InputSpec) -> Dataset:
        """The data set, its pictures resized and cropped from their files exactly as a published network expects."""
        raise NotImplementedError

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
    value_range: tuple[float, float] | None = None  # values that become 0 and 255, where pictures have over 8 bits
