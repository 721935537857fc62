"""Masks and depth of a folder's pictures: one file per picture, cropped and resized as the picture is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..images.input_spec import InputSpec
from ..progress import with_progress_bar
from ..storage.cache import cache_folder
from ..storage.hashing import fingerprint
from . import VOID
from ._arrays import Array, Piece, load_or_make_array
from ._content import hash_files, state_of
from ._listing import permission_as_user_error
from ._masks import read_numbers
from ._pictures import CHUNK, FORMATS, error_reason, map_in_threads, resize_and_crop, resize_square
from ._rgb import read_values, value_kind

MASKS, DEPTH = "masks", "depth"
SUFFIXES = {MASKS: (".png",), DEPTH: (".png", ".npy")}
CLASSES_FILE = "classes.txt"  # in the folder of masks: the class of each number, one per line, from 0
MAX_CLASSES = VOID  # numbers below VOID
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF: the picture is stored lying on its side
MILLIMETRES = 1000  # per metre


@dataclass(frozen=True)
class PixelTargets:
    """The files of masks or of depth, below ``root/kind``, for pictures with these paths below the root.

    ``contents`` are the hashes of the pictures: when a picture changes, the size of its mask is checked again.
    """

    root: Path
    kind: str  # MASKS or DEPTH
    pictures: tuple[str, ...]
    contents: tuple[str, ...]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The path of each picture's file below the root. Raises UserError for a picture without one."""
        return tuple(map(self._file_of, self.pictures))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names in ``classes.txt``; empty without this file, and for depth."""
        file = self.root / self.kind / CLASSES_FILE
        return read_classes(file) if self.kind == MASKS and file.is_file() else ()

    @property
    def digest(self) -> str:
        """Hex digest of all files and of the names of the classes."""
        return fingerprint([self.hashes, self.classes])

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each file."""
        with permission_as_user_error(self.root / self.kind):
            states = [state_of(os.stat(self.root / file)) for file in self.files]
            return hash_files(self.root, self.files, states, part=self.kind)

    def load(self, where: slice, name: str, size: int, input_spec: InputSpec | None, workers: int) -> Array:
        """The targets (n, size, size) of some of the pictures: uint8 for masks, float32 metres for depth.

        They are a memory map of a cache file, which is made first if it is missing. Raises UserError for a file that
        cannot be used.
        """
        pictures, files = self.pictures[where], self.files[where]
        side = input_spec.size if input_spec else size

        def read_chunk(start: int) -> Piece:
            several = range(start, min(start + CHUNK, len(files)))
            return several, np.stack([self._read(pictures[i], files[i], size, input_spec) for i in several])

        def pieces() -> Iterator[Piece]:
            steps = map_in_threads(read_chunk, range(0, len(files), CHUNK), workers)
            yield from with_progress_bar(steps, f"Reading {self.kind} of {name}", len(files), size_of=_count)

        dtype = np.dtype(np.uint8 if self.kind == MASKS else np.float32)
        spec = asdict(input_spec) if input_spec else None
        key = fingerprint([side, spec, self.hashes[where], self.contents[where], len(self.classes)])
        file = cache_folder() / "pictures" / f"{name[:60]}-{self.kind}-{key}.npy"
        return load_or_make_array(file, (len(files), side, side), dtype, pieces)

    def _file_of(self, picture: str) -> str:
        stem = f"{self.kind}/{os.path.splitext(picture)[0]}"
        for suffix in SUFFIXES[self.kind]:
            if (self.root / (stem + suffix)).is_file():
                return stem + suffix
        raise UserError(
            f"{self.root / picture}: there is no {' or '.join(stem + suffix for suffix in SUFFIXES[self.kind])} in "
            f"{self.root}. Every picture needs one; add it, or rename the folder {self.kind}/."
        )

    def _read(self, picture: str, file: str, size: int, input_spec: InputSpec | None) -> Array:
        from PIL import Image
        from PIL.Image import Resampling

        path = self.root / file
        try:
            target = read_classes_of_pixels(path) if self.kind == MASKS else read_metres(path)
        except (MemoryError, UserError):
            raise
        except Exception as error:  # PIL and numpy raise nearly anything on damaged files
            raise UserError(f"{path}: cannot be used ({error_reason(error, path)}). Fix it.") from error
        unknown = target[(target != VOID) & (target >= len(self.classes))] if self.classes else target[:0]
        if unknown.size:
            raise UserError(
                f"{path}: holds {int(unknown.flat[0])}, but {CLASSES_FILE} names the classes 0 to "
                f"{len(self.classes) - 1} ({VOID} is unknown). Correct the mask, or add the class."
            )
        shape = upright_shape(self.root / picture)
        if shape and target.shape != shape:
            raise UserError(
                f"{path}: {target.shape[1]} x {target.shape[0]} pixels, but its picture {self.root / picture} has "
                f"{shape[1]} x {shape[0]}. Save it in the picture's size."
            )
        image = Image.fromarray(target)
        if input_spec:
            return np.asarray(resize_and_crop(image, input_spec, Resampling.NEAREST))
        return np.asarray(resize_square(image, size, resampling=Resampling.NEAREST))


def read_classes(file: Path) -> tuple[str, ...]:
    """The names in a file of classes, one per line. Raises UserError unless there are 2 to 255 different ones."""
    try:
        names = [name for line in file.read_text("utf-8-sig").splitlines() if (name := line.strip())]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as text in UTF-8 ({error}). Fix it.") from error
    if not 2 <= len(names) <= MAX_CLASSES or len({*names}) < len(names):
        raise UserError(f"{file}: {len(names)} names; it must hold 2 to {MAX_CLASSES} different ones, one per line.")
    return tuple(names)


def read_classes_of_pixels(path: Path) -> NDArray[np.uint8]:
    """A mask's palette indices or greys: the class of each pixel, uint8 (H, W). Raises ValueError for other files."""
    from PIL import Image

    with Image.open(path, formats=FORMATS) as image:
        return read_numbers(image)


def read_metres(path: Path) -> NDArray[np.float32]:
    """Depth (H, W) in metres, from floats in an .npy file or 16-bit millimetres. Raises ValueError for other files."""
    from PIL import Image

    if path.suffix == ".npy":
        values: NDArray[Any] = np.load(path, allow_pickle=False)
        if values.ndim != 2 or values.dtype.kind != "f":
            raise ValueError(f"shape {values.shape} of {values.dtype} instead of floats (height, width), in metres")
        metres = values.astype(np.float32)
    else:
        with Image.open(path, formats=FORMATS) as image:
            if value_kind(image) != "integers":
                raise ValueError(f"{value_kind(image)} instead of 16-bit greys, in millimetres")
            image.load()
            metres = (read_values(image) / MILLIMETRES).astype(np.float32)
    if not (np.isfinite(metres) & (metres > 0)).all():
        raise ValueError("some depths are 0, negative, infinite or not a number; every pixel needs its distance")
    return metres


def upright_shape(path: Path) -> tuple[int, int] | None:
    """Height and width of a picture as it is shown, from its header; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            return (width, height) if image.getexif().get(ORIENTATION) in SIDEWAYS else (height, width)
    except Exception:  # PIL raises nearly anything on damaged files; loading the pictures reports them
        return None


def _count(piece: Piece) -> int:
    return len(piece[0])


def range_of_arrays(arrays: Sequence[Array], void: int | None = None) -> tuple[float, float] | None:
    """The lowest and the highest value of memory maps, apart from ``void``; None if there is nothing else."""
    ends: list[float] = []
    for array in arrays:
        for start in range(0, len(array), CHUNK):
            part = array[start : start + CHUNK]
            known = part if void is None else part[part != void]
            ends += [float(known.min()), float(known.max())] if known.size else []
    return (min(ends), max(ends)) if ends else None
