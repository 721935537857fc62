"""Reads picture files as square RGB arrays, all at once or on demand."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ._rgb import ValueRange, check_one_page, convert_to_rgb, value_kind

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..images.input_spec import InputSpec

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
    | {".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"}
)
EIGHT_BITS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".pbm"})  # formats with no more
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
PREPARATION = "1"  # part of data sets' identities: raise it whenever ``decode_picture`` gives other pixels
CHUNK = 256  # pictures that a thread decodes at a time

Pixels = NDArray[np.uint8]
Broken = tuple[int, str]  # the index of a picture that cannot be read, and the reason
T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


CORES = available_cores()


def decode_picture(
    path: Path | str, size: int, input_spec: InputSpec | None = None, value_range: ValueRange | None = None
) -> Pixels:
    """A file's central square, upright and in RGB: uint8 (3, size, size). PIL raises many errors on damaged files.

    With ``input_spec`` it is resized and cropped exactly as a published network expects. Pictures of more than
    8 bits need ``value_range``, the values that become 0 and 255.
    """
    rgb = read_rgb(path, None if input_spec else size, value_range)
    square = resize_and_crop(rgb, input_spec) if input_spec else resize_square(rgb, size)
    return np.asarray(square).transpose(2, 0, 1)


def read_rgb(path: Path | str, size: int | None, value_range: ValueRange | None = None) -> Image:
    """A whole picture, upright and in RGB; its sides are at least twice ``size``, or those of the file."""
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as image:
        check_one_page(image)
        # JPEG can be decoded at a lower resolution; twice the size leaves the last step to the better filter.
        if size is not None:
            image.draft(None, (2 * size, 2 * size))
        if value_kind(image) == "16-bit colours" and not may_exceed_8_bits(path):
            raise ValueError(f"16 bits per colour in a file of another name; rename it to .{image.format}".lower())
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return convert_to_rgb(image, value_range)


def may_exceed_8_bits(path: Path | str) -> bool:
    """Whether pictures with this suffix may hold values of more than 8 bits."""
    return os.path.splitext(path)[1].lower() not in EIGHT_BITS


def resize_and_crop(image: Image, input_spec: InputSpec, resampling: int | None = None) -> Image:
    """Resizes the shorter side and crops the centre, to the pixel like torchvision's ``Resize`` and ``CenterCrop``.

    ``resampling`` is a filter of Pillow in place of that of ``input_spec``.
    """
    from PIL.Image import Resampling

    width, height = image.size
    shorter, target = min(width, height), round(input_spec.size / input_spec.crop)
    width, height = (target if side == shorter else int(target * side / shorter) for side in (width, height))
    filter_ = Resampling[input_spec.resampling.upper()] if resampling is None else Resampling(resampling)
    image = image.resize((width, height), filter_)
    left, top = round((width - input_spec.size) / 2), round((height - input_spec.size) / 2)
    return image.crop((left, top, left + input_spec.size, top + input_spec.size))


def resize_square(image: Image, size: int, place: float = 0.5, resampling: int | None = None) -> Image:
    """Crops a square of the shorter side and resizes it, in one step.

    ``place`` is where on the longer side it is, from 0 (left or top) to 1; by default it is the central square.
    ``resampling`` is a filter of Pillow; by default bicubic.
    """
    from PIL.Image import Resampling

    width, height = image.size
    if width == height == size:
        return image
    side = min(width, height)
    left, top = (width - side) * place, (height - side) * place
    filter_ = Resampling.BICUBIC if resampling is None else Resampling(resampling)
    return image.resize((size, size), filter_, box=(left, top, left + side, top + side))


def side_lengths(path: Path | str) -> tuple[int, int] | None:
    """A file's shorter and longer side in pixels, from its header alone; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return min(image.size), max(image.size)
    except Exception:  # PIL raises nearly anything on damaged files; ``load`` reports them
        return None


def try_decode(
    path: Path | str, size: int, input_spec: InputSpec | None = None, value_range: ValueRange | None = None
) -> Pixels | str:
    """The decoded picture, or the reason why it cannot be read. Raises UserError if the file cannot be opened."""
    return result_or_reason(path, lambda: decode_picture(path, size, input_spec, value_range))


def result_or_reason(path: Path | str, decode: Callable[[], T]) -> T | str:
    """What ``decode`` returns, or the reason why the picture cannot be read. Raises UserError as `try_decode` does."""
    try:
        return decode()
    except MemoryError:
        raise
    except Exception as error:  # PIL raises nearly anything on damaged files
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek beyond the end
            raise UserError(
                f"{path}: cannot be opened ({error.strerror}). Check its permissions and the disk, and run again."
            ) from error
        return error_reason(error, path)


def error_reason(error: Exception, path: Path | str) -> str:
    """Why a picture cannot be read, in a few words without its path."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        with open(path, "rb") as file:
            start = file.read(4)
        if start in (b"II*\0", b"MM\0*"):
            return "a kind of TIFF that cannot be read; save it as PNG or 8-bit TIFF"
        return "not a picture" if start else "empty file"
    return (str(error) or type(error).__name__).splitlines()[0]


def decode_chunks(
    paths: Sequence[str], size: int, workers: int, value_range: ValueRange | None = None
) -> Iterator[tuple[Pixels, list[Broken]]]:
    """Decodes files in order, chunk by chunk: the readable pictures (n, 3, size, size), and the broken ones."""

    def decode_chunk(start: int) -> tuple[Pixels, list[Broken]]:
        results = [try_decode(path, size, None, value_range) for path in paths[start : start + CHUNK]]
        good = [result for result in results if not isinstance(result, str)]
        broken = [(start + i, result) for i, result in enumerate(results) if isinstance(result, str)]
        return np.stack(good) if good else np.empty((0, 3, size, size), np.uint8), broken

    yield from map_in_threads(decode_chunk, range(0, len(paths), CHUNK), workers)


def map_in_threads(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """``map`` over threads, in order; only a few results are held at a time, so memory stays small."""
    from PIL import Image

    Image.init()  # not thread-safe
    ahead = 2 * workers
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(function, item) for item in items[:ahead]]
        for i in range(len(items)):
            result = waiting[i % ahead].result()
            if i + ahead < len(items):
                waiting[i % ahead] = pool.submit(function, items[i + ahead])
            yield result


class LazyImages:
    """Picture files that are read on demand: uint8 (N, 3, size, size) that need not fit in memory.

    With ``input_spec`` they have its size, resized and cropped exactly as a published network expects.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        *,
        size: int,
        workers: int,
        input_spec: InputSpec | None = None,
        value_range: ValueRange | None = None,
    ) -> None:
        self.root = root
        self.paths = paths
        self.size = input_spec.size if input_spec else size
        self.input_spec = input_spec
        self.value_range = value_range
        self.workers = workers

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        """Indices (n,) or mask (N,) -> uint8 (n, 3, size, size)."""
        import torch

        chosen = self.positions(indices)
        images = np.empty((len(chosen), 3, self.size, self.size), np.uint8)

        def read(i: int) -> None:
            path = self.paths[chosen[i]]
            picture = try_decode(self.root / path, self.size, self.input_spec, self.value_range)
            if isinstance(picture, str):
                raise unreadable_error(self.root, [(path, picture)])
            images[i] = picture

        # One pool per batch: it costs little compared with decoding, and needs no care for fork and pickle.
        for _ in map_in_threads(read, range(len(chosen)), self.workers):
            pass
        return torch.from_numpy(images)

    def positions(self, indices: Tensor | slice) -> list[int]:
        """The positions of the files that a slice, indices (n,) or a mask (N,) selects."""
        import torch

        if isinstance(indices, slice):
            return list(range(len(self))[indices])
        selected: list[int] = (indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices).tolist()
        return selected


def unreadable_error(where: Path, broken: Sequence[tuple[str, str]]) -> UserError:
    """The error for pictures that cannot be read: ``broken`` are paths and reasons."""
    return UserError(
        f"{describe_unreadable(where, broken)} Fix or remove them, or leave them out with --skip-unreadable."
    )


def describe_unreadable(where: Path, broken: Sequence[tuple[str, str]]) -> str:
    """One sentence that counts the unreadable pictures and names the first three with their reasons."""
    first = ", ".join(f"{path} ({reason})" for path, reason in broken[:3]) + (", …" if len(broken) > 3 else "")
    count = "1 picture" if len(broken) == 1 else f"{len(broken):,} pictures"
    return f"{where}: {count} cannot be read: {first}."
