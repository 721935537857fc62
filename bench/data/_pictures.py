"""Picture files as square RGB arrays, decoded all at once or when they are asked for."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
PREPARATION = "1"  # raise it whenever ``decoded`` gives other pixels
CHUNK = 256  # pictures that a thread decodes before it hands them over

Pixels = NDArray[np.uint8]
Broken = tuple[int, str]  # the place of a picture that cannot be read, and why
T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many CPU cores this process may use: threads beyond that only queue."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoded(path: Path | str, size: int) -> Pixels:
    """The upright picture's central square as RGB, uint8 (3, size, size)."""
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as image:
        # JPEG can come out of its decoder smaller; twice the size leaves the last step to the better filter.
        image.draft(None, (2 * size, 2 * size))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(square(rgb(image), size)).transpose(2, 0, 1)


def rgb(image: Image) -> Image:
    """The picture in 8-bit RGB; transparency is dropped, deeper greys keep their range."""
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):  # PIL itself would clip 16-bit greys at 255
        grey = np.asarray(image, dtype=np.float64)
        unit = image.mode == "F" and grey.size > 0 and grey.max() <= 1
        scale = 255 if unit else 1 if image.mode == "F" else 255 / 65535
        return Image.fromarray(np.clip(np.rint(grey * scale), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, PIL warns of palettes with transparency
    return image.convert("RGB")


def square(image: Image, size: int) -> Image:
    """The shorter side resized to ``size`` and the centre cropped, in one step."""
    from PIL.Image import Resampling

    width, height = image.size
    if width == height == size:
        return image
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Resampling.BICUBIC, box=(left, top, left + side, top + side))


def shorter_side(path: Path | str) -> tuple[int, int] | None:
    """Shorter and longer side, in pixels, from the file's head alone; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return min(image.size), max(image.size)
    except Exception:  # PIL raises nearly anything on damaged files; ``load`` tells the user of them
        return None


def tried(path: Path | str, size: int) -> Pixels | str:
    """The decoded picture, or in a few words why it cannot be read."""
    try:
        return decoded(path, size)
    except MemoryError:
        raise
    except Exception as error:  # PIL raises nearly anything on damaged files
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek past the end
            raise UserError(
                f"{path}: cannot be opened ({error.strerror}). Check its permissions and the disk, and run again."
            ) from error
        return reason(error, path)


def reason(error: Exception, path: Path | str) -> str:
    """An exception's words without the path, which the sentence around them names already."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a picture" if os.path.getsize(path) else "empty file"
    return (str(error) or type(error).__name__).splitlines()[0]


def chunks_decoded(paths: Sequence[str], size: int, workers: int) -> Iterator[tuple[Pixels, list[Broken]]]:
    """Chunk by chunk in order: the readable pictures (n, 3, size, size), and the broken ones."""

    def chunk(start: int) -> tuple[Pixels, list[Broken]]:
        results = [tried(path, size) for path in paths[start : start + CHUNK]]
        good = [result for result in results if not isinstance(result, str)]
        broken = [(start + i, result) for i, result in enumerate(results) if isinstance(result, str)]
        return np.stack(good) if good else np.empty((0, 3, size, size), np.uint8), broken

    yield from threaded(chunk, range(0, len(paths), CHUNK), workers)


def threaded(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """``map`` over threads, in order; few results wait at a time, so memory stays small."""
    from PIL import Image

    Image.init()  # once, not by several threads at once
    ahead = 2 * workers
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(function, item) for item in items[:ahead]]
        for i in range(len(items)):
            result = waiting[i % ahead].result()
            if i + ahead < len(items):
                waiting[i % ahead] = pool.submit(function, items[i + ahead])
            yield result


def watched(steps: Iterable[T], what: str, total: int | None, *, done: Callable[[T], int]) -> Iterator[T]:
    """The same steps, with a progress bar where someone is watching standard error."""
    if not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=total)
        for step in steps:
            progress.advance(bar, done(step))
            yield step


class LazyImages:
    """Picture files read when they are asked for: uint8 (N, 3, size, size) that need not fit in memory."""

    def __init__(self, root: Path, paths: Sequence[str], *, size: int, workers: int) -> None:
        self.root = root
        self.paths = paths
        self.size = size
        self.workers = workers

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor | slice, /) -> Tensor:
        """Indices (n,) or mask (N,) -> uint8 (n, 3, size, size)."""
        import torch

        if isinstance(indices, slice):
            places: list[Any] = list(range(len(self))[indices])
        else:
            places = (indices.nonzero()[:, 0] if indices.dtype == torch.bool else indices).tolist()
        images = np.empty((len(places), 3, self.size, self.size), np.uint8)

        def fill(i: int) -> None:
            path = self.paths[places[i]]
            picture = tried(self.root / path, self.size)
            if isinstance(picture, str):
                raise unreadable(self.root, [(path, picture)])
            images[i] = picture

        # A pool of its own for each batch: it costs little beside decoding, and survives fork and pickle.
        for _ in threaded(fill, range(len(places)), self.workers):
            pass
        return torch.from_numpy(images)


def unreadable(where: Path, broken: Sequence[tuple[str, str]]) -> UserError:
    """The one sentence about pictures that cannot be read: ``broken`` are paths and reasons."""
    named = ", ".join(f"{path} ({why})" for path, why in broken[:3]) + (", …" if len(broken) > 3 else "")
    count = "1 picture" if len(broken) == 1 else f"{len(broken):,} pictures"
    return UserError(
        f"{where}: {count} cannot be read: {named}. Mend or remove them, or leave them out with --skip-unreadable."
    )
