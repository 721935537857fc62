"""Published data sets: downloaded, checked and read by torchvision, and kept like any decoded pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, require
from ..storage.cache import cache_folder, locked
from ..storage.download import GONE, downloaded, told
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._archive import unpack
from ._pictures import CHUNK, PREPARATION, Pixels, cores, square, threaded, watched
from ._store import Chunk, stored

Pictures = NDArray[np.uint8]  # (N, S, S, 3)
Reader = Callable[[str, bool], tuple[Pictures, NDArray[Any]]]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set that is the same everywhere."""

    name: str
    classes: tuple[str, ...]
    train_images: int
    test_images: int
    image_size: int  # pixels, as published
    url: str  # of the archive
    folder: str  # in the archive
    files: tuple[str, ...]  # in that folder
    read: Reader
    """Root and "is it train?" -> pictures and labels; RuntimeError where a file is missing or its MD5 is wrong."""

    @property
    def archive(self) -> str:
        return self.url.rpartition("/")[2]

    def facts(self, data_dir: str | None, image_size: int | None) -> DatasetInfo:
        """Facts that need neither files nor network; UserError for a directory that cannot hold the data."""
        size = self.image_size if image_size is None else image_size
        require(8 <= size <= 1024, "image_size", size, "from 8 to 1024 pixels")
        if data_dir:
            self._look(self.root(data_dir))
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

    def _look(self, root: Path) -> None:
        """UserError unless the data are in this directory of the user's, or can be put there."""
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
                f"{root}: {self.folder} is not there and the directory is not writable, so that it cannot be "
                f"downloaded into it. Correct --data-dir, or leave it out to download {self.name} into the cache."
            )

    def load(self, data_dir: str | None, image_size: int | None) -> Dataset:
        """Both splits from the cache, or else from the published files, downloaded where they are missing."""
        known = self.facts(data_dir, image_size)
        return Dataset(
            name=self.name,
            classes=self.classes,
            image_size=known.image_size,
            train=self._split(known, self.root(data_dir), train=True),
            test=self._split(known, self.root(data_dir), train=False),
        )

    def _split(self, known: DatasetInfo, root: Path, *, train: bool) -> Split:
        import torch

        what = "train" if train else "test"
        count = self.train_images if train else self.test_images
        size = known.image_size

        def chunks() -> Iterator[Chunk]:
            pictures, labels = fetched(self, root, train)

            def chunk(start: int) -> Pixels:
                return resized(pictures[start : start + CHUNK], size)

            pieces = threaded(chunk, range(0, len(pictures), CHUNK), cores())
            place = 0
            for images in watched(pieces, f"Preparing {self.name}/{what}", len(pictures), done=len):
                yield images, np.asarray(labels[place : place + len(images)], dtype=np.int64), []
                place += len(images)

        kept = stored(f"{self.name}-{what}-{known.identity[:16]}", size, count, chunks)
        return Split(images=torch.from_numpy(kept.images), labels=torch.from_numpy(kept.labels))


@dataclass(frozen=True, kw_only=True)
class PublishedSource(DatasetSource):
    """Base of data sets that are the same everywhere."""

    published: ClassVar[Published]
    data_dir: str | None = None  # where the files are or will be put; by default the cache
    image_size: int | None = None  # pixels; by default as published

    def check(self) -> DatasetInfo:
        """The published facts; UserError where ``data_dir`` cannot hold the files."""
        return self.published.facts(self.data_dir, self.image_size)

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits; downloads them the first time."""
        return self.published.load(self.data_dir, self.image_size)


def resized(pictures: Pictures, size: int) -> Pixels:
    """Pictures (n, S, S, 3) -> (n, 3, size, size)."""
    from PIL import Image

    if pictures.shape[1] != size:
        pictures = np.stack([np.asarray(square(Image.fromarray(one), size)) for one in pictures])
    return pictures.transpose(0, 3, 1, 2)


def fetched(data: Published, root: Path, train: bool) -> tuple[Pictures, NDArray[Any]]:
    """What the reader reads; where files are missing or damaged, after bringing them."""
    try:
        # The lock lies in the cache: the files may well be in a shared directory that nobody may write to.
        with locked(cache_folder() / "datasets" / data.name):
            try:
                return data.read(str(root), train)
            except RuntimeError:
                bring(data.url, root / data.archive)
            try:
                return data.read(str(root), train)
            except RuntimeError:
                raise UserError(
                    f"{root / data.archive}: holds other files than {data.name} was published with; "
                    "remove it to have it downloaded again."
                ) from None
    except GONE as error:
        raise UserError(
            f"{data.name} could not be downloaded ({told(error)}). Fetch {data.url} by hand, "
            f"put {data.archive} into {root}, and run the same command again."
        ) from error
    except OSError as error:
        raise UserError(
            f"{root}: {data.name} cannot be read or written there ({error.strerror or error}). "
            "Make room and give permission, or give another --data-dir."
        ) from error


def bring(url: str, archive: Path) -> None:
    """Downloads an archive that is not there, and unpacks it where it lies."""
    steps = iter(()) if archive.is_file() else downloaded(url, archive)
    if first := next(steps, None):
        pairs = pairwise(chain([(0, 0), first], steps))
        for _ in watched(
            pairs, f"Downloading {archive.name}", first[1] or None, done=lambda two: two[1][0] - two[0][0]
        ):
            pass
    unpack(archive, archive.parent)
