"""The only shape in which data enters: two splits of images and labels.

A ``DatasetSource`` knows what a data set is without reading its pictures (and without
torch), so a run is planned, and refused, before any work; ``load`` brings the
pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Images(Protocol):
    """What a split's images can do: a uint8 tensor (N, 3, H, W) can, and so can files on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        """Indices (n,) -> uint8 (n, 3, H, W) on the CPU or wherever the images live."""
        ...


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their labels, and what else the data set was asked for."""

    images: Images
    labels: Tensor  # int64 (N,)
    clips: Tensor | None = None  # uint8 (M, T, 3, H, W)
    masks: Tensor | None = None  # uint8 (M, T, H, W), object numbers, 0 is background
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
    """Where a data set comes from: its fields are its settings.

    One file in this folder is one source; its class is named like the file.
    Whatever is wrong with the data is a UserError of ``check``, before any work.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"labels"})

    @abstractmethod
    def check(self) -> DatasetInfo:
        """Looks at the data without reading pictures; raises UserError if they cannot be used."""

    @abstractmethod
    def load(self, needs: frozenset[str]) -> Dataset:
        """Reads the pictures (from a cache, where there is one) and what ``needs`` names besides."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known of a data set before it is read."""

    name: str  # as in records: "synthetic", "cifar10", or the folder's name
    identity: str  # hex digest that changes whenever pictures, labels or their preparation do
    image_size: int  # pixels, square
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    per_class: int | None = None  # train images of the smallest class, where it is known
