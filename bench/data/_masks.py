"""Masks of video frames: pictures whose values are the numbers of objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..storage.cache import cache_folder
from ..storage.hashing import fingerprint
from ._arrays import Piece, load_or_make_array
from ._frames import MASKS, VideoSplit, check_same_size
from ._pictures import FORMATS, error_reason
from ._rgb import read_values, value_kind

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

VOID = 255  # in masks with a palette: belongs to no object


def load_masks(split: VideoSplit, name: str, size: int) -> NDArray[np.uint8]:
    """Object numbers (N, size, size), 0 for the background. Raises UserError for a frame without a fitting mask."""
    files = []
    for video in split.videos:
        for frame in video.frames:
            if frame.path.stem not in video.masks:
                raise UserError(
                    f"{frame.path}: has no mask; every frame needs one. "
                    f"Add {split.root / MASKS}/{video.name}/{frame.path.stem}.png."
                )
            files.append((frame, video.masks[frame.path.stem]))

    def pieces() -> Iterator[Piece]:
        for index, (frame, mask) in enumerate(files):
            check_same_size(frame.path, mask.path)
            yield [index], read_mask(mask.path, size)[None]

    key = [size, split.mask_digest, split.digest]
    file = cache_folder() / "pictures" / f"{name[:60]}-{split.split}-masks-{fingerprint(key)}.npy"
    return load_or_make_array(file, (len(files), size, size), np.dtype(np.uint8), pieces)


def read_mask(path: Path, size: int) -> NDArray[np.uint8]:
    """A mask's central square as object numbers: uint8 (size, size).

    The numbers are palette indices or greys; in a mask of black and white, white is object 1.
    """
    from PIL import Image
    from PIL.Image import Resampling

    try:
        with Image.open(path, formats=FORMATS) as image:
            numbers = read_numbers(image)
            side = min(numbers.shape)
            top, left = ((length - side) / 2 for length in numbers.shape)
            box = (left, top, left + side, top + side)
            square = np.asarray(Image.fromarray(numbers).resize((size, size), Resampling.NEAREST, box=box))
            if image.mode == "P":
                return np.where(square == VOID, 0, square)
            return (square > 127).astype(np.uint8) if numbers.max(initial=0) == 255 else square
    except Exception as error:  # PIL raises nearly anything on damaged files
        raise UserError(f"{path}: this mask cannot be read ({error_reason(error, path)}). Fix it.") from error


def read_numbers(image: Picture) -> NDArray[np.uint8]:
    """The values of a mask (H, W). Raises ValueError if they are not numbers of objects from 0 to 255."""
    kind = value_kind(image)
    image.load()
    if kind == "integers":
        wide = read_values(image)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 255:
            raise ValueError("object numbers below 0 or above 255")
        return wide.astype(np.uint8)
    if kind != "8 bits":
        raise ValueError(f"{kind} instead of the numbers of objects; save it with a palette or in grey")
    numbers: NDArray[np.uint8] = np.asarray(image if image.mode in ("P", "L", "1") else image.convert("RGB"), np.uint8)
    if numbers.ndim == 3:
        if (numbers != numbers[..., :1]).any():
            raise ValueError("colours instead of the numbers of objects; save it with a palette or in grey")
        return numbers[..., 0]
    return numbers
