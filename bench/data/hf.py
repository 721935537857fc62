"""Any image data set of the Hugging Face Hub, or a folder of Parquet files: ``--dataset hf/OWNER/NAME``.

It is downloaded into the cache when a run is planned. ``--data-dir DIR`` reads a copy in its place, and
``--dataset hf/PATH`` does the same for a folder that is there. The column of images is found by its type, and that of
labels is the only one with named classes; settings choose others. Pictures are prepared as those of ``folder``.
Needs the package datasets: pip install sslbench[hf]
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from ..errors import UserError
from ..progress import with_progress_bar
from ..storage.hashing import fingerprint
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._archive import to_safe_name
from ._hub import NAMED_CLASSES, find_column, find_split, hash_folder, import_library, locate_copy, open_splits
from ._info import DEFAULT_SIZE, SMALL
from ._pictures import CHUNK, CORES, FORMATS, PREPARATION, Pixels, map_in_threads, resize_square
from ._rgb import check_one_page, convert_to_rgb, value_kind
from ._store import Chunk, load_or_decode

TEST_NAMES = ("test", "validation", "valid", "val")
SAMPLE = 64  # pictures whose size stands for all


@dataclass(frozen=True, kw_only=True)
class Hf(DatasetSource):
    """Pictures and labels of two splits, read by the library datasets."""

    path: str = ""  # OWNER/NAME on the hub, or a folder; --dataset hf/PATH sets it
    data_dir: str | None = None
    config: str | None = None  # which of several configurations
    image: str | None = None  # column of the images
    label: str | None = None  # column of the labels
    test: str | None = None  # name of the test split; by default test, else validation
    image_size: Annotated[int, Interval(ge=8, le=1024)] | None = None  # pixels; by default as `folder` chooses it

    def check(self) -> DatasetInfo:
        """Describes the data, which are downloaded if they are not here. Raises UserError if they cannot be used."""
        return self._info

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits, decoded once into the cache. Raises UserError for a picture that cannot be read."""
        info = self.check()
        return Dataset(
            name=info.name,
            classes=info.classes,
            image_size=info.image_size,
            train=self._load_split("train", info),
            test=self._load_split("test", info),
        )

    def _load_split(self, split: str, info: DatasetInfo) -> Split:
        import torch

        rows, labels, size = self._splits[split], self._labels[split], info.image_size

        def decode_chunk(start: int) -> Pixels:
            contents = rows[start : start + CHUNK][self._image]
            return np.stack([self._decode(one, size, f"{start + i} of {split}") for i, one in enumerate(contents)])

        def chunks() -> Iterator[Chunk]:
            steps = map_in_threads(decode_chunk, range(0, len(rows), CHUNK), CORES)
            start = 0
            for images in with_progress_bar(steps, f"Decoding {info.name}/{split}", len(rows), size_of=len):
                yield images, labels[start : start + len(images)], []
                start += len(images)

        name = f"{info.name[:60]}-{split}-{info.identity}"
        stored = load_or_decode(name, size, len(rows), chunks)
        return Split(images=torch.from_numpy(stored.images), labels=torch.from_numpy(stored.labels))

    def _decode(self, content: Mapping[str, Any], size: int, row: str) -> Pixels:
        from PIL import Image, ImageOps

        try:
            with Image.open(picture_file(content), formats=FORMATS) as image:
                check_one_page(image)
                if value_kind(image) != "8 bits":
                    raise ValueError("more than 8 bits per value")
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return np.asarray(resize_square(convert_to_rgb(image), size)).transpose(2, 0, 1)
        except MemoryError:
            raise
        except Exception as error:  # PIL raises nearly anything on damaged files
            raise UserError(
                f"{self._folder}: picture {row} cannot be read ({str(error) or type(error).__name__}). "
                "Remove it from the data set."
            ) from error

    @cached_property
    def _info(self) -> DatasetInfo:
        size = self.image_size or self._own_size()
        train, test = self._labels["train"], self._labels["test"]
        columns = [self._image, self._label, self.config, self.test]
        return DatasetInfo(
            name=to_safe_name(self._folder.resolve().name if self._is_copy else self.path),
            identity=fingerprint([PREPARATION, size, columns, self._classes, self._content]),
            image_size=size,
            classes=self._classes,
            train_images=len(train),
            test_images=len(test),
            per_class=int(np.bincount(train, minlength=len(self._classes)).min()),
        )

    @property
    def _is_copy(self) -> bool:
        return bool(self.data_dir) or self._folder == Path(self.path).expanduser()

    @cached_property
    def _folder(self) -> Path:
        return locate_copy(self.path, self.data_dir)

    @cached_property
    def _content(self) -> str:
        """A hash of all files."""
        return fingerprint(hash_folder(self._folder))

    @cached_property
    def _splits(self) -> dict[str, Any]:
        """The splits as "train" and "test"; their images stay encoded."""
        library = import_library()
        found = open_splits(self._folder, self.config, self._content)
        tests = (self.test,) if self.test else TEST_NAMES
        names = {"train": find_split(found, ("train",), self._folder), "test": find_split(found, tests, self._folder)}
        image = find_column(found[names["train"]].features, "Image", "image", self.image, self._folder)
        return {split: found[name].cast_column(image, library.Image(decode=False)) for split, name in names.items()}

    @cached_property
    def _image(self) -> str:
        return find_column(self._splits["train"].features, "Image", "image", self.image, self._folder)

    @cached_property
    def _label(self) -> str:
        return find_column(self._splits["train"].features, NAMED_CLASSES, "label", self.label, self._folder)

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        """The names of the classes; for labels without names, the different labels of train in their order."""
        rows = self._splits["train"]
        names = getattr(rows.features[self._label], "names", None)
        return tuple(names) if names else tuple(map(str, sorted(set(rows[self._label][:]))))

    @cached_property
    def _labels(self) -> dict[str, NDArray[np.int64]]:
        """The labels of each split (N,). Raises UserError for one that is not a class."""
        named = getattr(self._splits["train"].features[self._label], "names", None)
        number = {value: i for i, value in enumerate(range(len(named)) if named else self._classes)}
        found = {}
        for split, rows in self._splits.items():
            values = [value if named else str(value) for value in rows[self._label][:]]
            if wrong := [row for row, value in enumerate(values) if value not in number]:
                raise UserError(
                    f"{self._folder}: the label {values[wrong[0]]!r} of picture {wrong[0]} of {split} is none of the "
                    f"{len(number)} classes. Choose another split with --set hf.test=NAME, or correct the data."
                )
            found[split] = np.array([number[value] for value in values], np.int64)
        return found

    def _own_size(self) -> int:
        """The pictures' own size in pixels if all of a sample have the same small one; otherwise 64."""
        from PIL import Image

        rows, sizes = self._splits["train"], set()
        for row in sorted({int(i) for i in np.linspace(0, len(rows) - 1, SAMPLE)}):
            with suppress(Exception), Image.open(picture_file(rows[row][self._image])) as image:
                sizes.add(image.size)  # PIL raises nearly anything on damaged files; ``load`` reports them
        shorter, longer = sorted(sizes.pop()) if len(sizes) == 1 else (0, SMALL)
        return shorter if shorter >= 8 and longer <= SMALL else DEFAULT_SIZE


def picture_file(content: Mapping[str, Any]) -> io.BytesIO | str:
    """An encoded picture of the library datasets, as a file in memory or the path of one."""
    return io.BytesIO(content["bytes"]) if content["bytes"] is not None else str(content["path"])
