"""Data sets that are the same for everyone: downloaded, verified and read by torchvision, then kept in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from ..errors import UserError, require
from ..progress import with_progress_bar
from ..storage.cache import cache_folder, file_lock
from ..storage.download import NETWORK_ERRORS, download_file, failure_reason
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._archive import unpack
from ._pictures import (
    CHUNK,
    PREPARATION,
    Pixels,
    available_cores,
    map_in_threads,
    resize_square,
)
from ._store import Chunk, load_or_decode

Pictures = NDArray[np.uint8]  # (N, S, S, 3)
Reader = Callable[[str, bool], tuple[Pictures, NDArray[Any]]]


@dataclass(frozen=True, kw_only=True)
class DownloadableDataset:
    """What is known of a data set before it is downloaded, and how its files are read."""

    name: str
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    image_size: int  # pixels, as published
    url: str  # of the archive
    folder: str  # in the archive
    files: tuple[str, ...]  # in that folder
    read: Reader
    """Root and "is it train?" -> pictures and labels; RuntimeError if a file is missing or its MD5 is wrong."""

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return self.url.rpartition("/")[2]

    def info(self, data_dir: str | None, image_size: int | None) -> DatasetInfo:
        """Describes the data without files or network. Raises UserError for a directory that cannot hold them."""
        size = self.image_size if image_size is None else image_size
        require(8 <= size <= 1024, "image_size", size, "from 8 to 1024 pixels")
        if data_dir:
            self._check_root(self.root(data_dir))
        return DatasetInfo(
            name=self.name,
            identity=hashlib.sha256(f"{self.name}|{self.archive}|{size}|{PREPARATION}".encode()).hexdigest(),
            image_size=size,
            classes=self.classes,
            train_images=self.train_images,
            test_images=self.test_images,
            per_class=self.train_images // len(self.classes),
        )

    def root(self, data_dir: str | None) -> Path:
        """The directory in which ``folder`` is or will be."""
        if not data_dir:
            return cache_folder() / "datasets"
        root = Path(data_dir).expanduser()
        return root.parent if root.name == self.folder and root.is_dir() else root

    def _check_root(self, root: Path) -> None:
        """Raises UserError unless the files are in this directory or can be downloaded into it."""
        if not root.exists():
            if not root.parent.is_dir():
                raise UserError(
                    f"{root}: neither this directory nor {root.parent} exists. "
                    f"Correct --data-dir, or leave it out to download {self.name} into the cache."
                )
        elif not root.is_dir():
            raise UserError(f"{root}: not a directory. Give --data-dir the directory that holds {self.archive}.")
        elif (root / self.archive).is_file():
            return  # it is unpacked when it is read
        elif (root / self.folder).exists():
            missing = [name for name in self.files if not (root / self.folder / name).is_file()]
            if missing:
                raise UserError(
                    f"{root / self.folder}: {', '.join(missing)} missing. Put the missing files there, or put "
                    f"{self.archive} from {self.url} into {root}, or remove the folder to have it downloaded."
                )
        elif not os.access(root, os.W_OK):
            raise UserError(
                f"{root}: {self.folder} is not there, and it cannot be downloaded because the directory is not "
                f"writable. Correct --data-dir, or leave it out to download {self.name} into the cache."
            )

    def load(self, data_dir: str | None, image_size: int | None) -> Dataset:
        """Both splits, from the cache or from the published files; these are downloaded if they are missing."""
        info = self.info(data_dir, image_size)
        return Dataset(
            name=self.name,
            classes=self.classes,
            image_size=info.image_size,
            train=self._load_split(info, self.root(data_dir), is_train=True),
            test=self._load_split(info, self.root(data_dir), is_train=False),
        )

    def _load_split(self, info: DatasetInfo, root: Path, *, is_train: bool) -> Split:
        import torch

        split = "train" if is_train else "test"
        count = self.train_images if is_train else self.test_images
        size = info.image_size

        def chunks() -> Iterator[Chunk]:
            pictures, labels = read_or_download(self, root, is_train)

            def resize_chunk(start: int) -> Pixels:
                return resize_pictures(pictures[start : start + CHUNK], size)

            resized = map_in_threads(resize_chunk, range(0, len(pictures), CHUNK), available_cores())
            start = 0
            for images in with_progress_bar(resized, f"Preparing {self.name}/{split}", len(pictures), size_of=len):
                yield images, np.asarray(labels[start : start + len(images)], dtype=np.int64), []
                start += len(images)

        stored = load_or_decode(f"{self.name}-{split}-{info.identity[:16]}", size, count, chunks)
        return Split(images=torch.from_numpy(stored.images), labels=torch.from_numpy(stored.labels))


@dataclass(frozen=True, kw_only=True)
class DownloadableSource(DatasetSource):
    """Base of plugins that load a ``DownloadableDataset``."""

    dataset: ClassVar[DownloadableDataset]
    data_dir: str | None = None  # where the files are or will be put; by default the cache
    image_size: Annotated[int, Interval(ge=8, le=1024)] | None = None  # pixels; by default as published

    def check(self) -> DatasetInfo:
        """Describes the published data. Raises UserError if ``data_dir`` cannot hold the files."""
        return self.dataset.info(self.data_dir, self.image_size)

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits; downloads them the first time."""
        return self.dataset.load(self.data_dir, self.image_size)


def resize_pictures(pictures: Pictures, size: int) -> Pixels:
    """Pictures (n, S, S, 3) -> (n, 3, size, size)."""
    from PIL import Image

    if pictures.shape[1] != size:
        pictures = np.stack([np.asarray(resize_square(Image.fromarray(one), size)) for one in pictures])
    return pictures.transpose(0, 3, 1, 2)


def read_or_download(data: DownloadableDataset, root: Path, is_train: bool) -> tuple[Pictures, NDArray[Any]]:
    """Pictures and labels of one split; missing or damaged files are downloaded first."""
    try:
        # The lock is in the cache, because the files may be in a shared directory that is not writable.
        with file_lock(cache_folder() / "datasets" / data.name):
            try:
                return data.read(str(root), is_train)
            except RuntimeError:
                download_and_unpack(data.url, root / data.archive)
            try:
                return data.read(str(root), is_train)
            except RuntimeError:
                raise UserError(
                    f"{root / data.archive}: holds other files than {data.name} was published with; "
                    "remove it to have it downloaded again."
                ) from None
    except NETWORK_ERRORS as error:
        raise UserError(
            f"{data.name} could not be downloaded ({failure_reason(error)}). Download {data.url} by hand, "
            f"put {data.archive} into {root}, and run the same command again."
        ) from error
    except OSError as error:
        raise UserError(
            f"{root}: {data.name} cannot be read or written there ({error.strerror or error}). "
            "Free some space, check the permissions, or give another --data-dir."
        ) from error


def download_and_unpack(url: str, archive: Path) -> None:
    """Downloads an archive unless it is there, and unpacks it into its own folder."""
    progress = iter(()) if archive.is_file() else download_file(url, archive)
    if first := next(progress, None):
        steps = pairwise(chain([(0, 0), first], progress))
        title = f"Downloading {archive.name}"
        for _ in with_progress_bar(steps, title, first[1] or None, size_of=lambda step: step[1][0] - step[0][0]):
            pass
    unpack(archive, archive.parent)
