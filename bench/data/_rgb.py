"""Converts pictures of every kind to 8-bit RGB. Pictures of 8 bits keep their values; others need a range of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

ValueRange = tuple[float, float]  # the values that become 0 and 255
ValueKind = Literal["8 bits", "integers", "floats", "16-bit colours"]

SUBFILE_TYPE, SAMPLE_FORMAT = 254, 339  # tags of a TIFF page
SMALLER_OR_MASK = 0b101  # bits of SUBFILE_TYPE: the page repeats another one at a lower resolution, or is its mask
UNSIGNED, SIGNED = 1, 2  # values of SAMPLE_FORMAT


def value_kind(image: Image) -> ValueKind:
    """What a picture's values are, from its header. Pillow reads only the upper 8 bits of 16-bit colours."""
    if image.mode.startswith("I") or (image.mode == "L" and _sample_format(image) == SIGNED):
        return "integers"
    if image.mode == "F":
        return "floats"
    tile = next(iter(getattr(image, "tile", None) or ()), None)
    return "16-bit colours" if tile and ";16" in str(tile[3]) else "8 bits"


def read_values(image: Image) -> NDArray[np.float64]:
    """The values (H, W) of a picture of integers or floats. Raises ValueError if one is not a number."""
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "L":
        values = values.view(np.int8)
    elif image.mode == "I" and image.format == "TIFF" and _sample_format(image) == UNSIGNED:
        values = values.view(np.uint32)  # Pillow reads large ones as negative numbers
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some values are infinite or not a number")
    return values


def check_one_page(image: Image) -> None:
    """Raises ValueError for a TIFF of several pages: they may be channels, planes or times, and only one would be read.

    Pages that repeat the first at a lower resolution do not count.
    """
    if image.format != "TIFF" or getattr(image, "n_frames", 1) == 1:
        return
    pages = 1
    for page in range(1, image.n_frames):  # type: ignore[attr-defined]
        image.seek(page)
        pages += not int(_tag(image, SUBFILE_TYPE, 0)) & SMALLER_OR_MASK
    image.seek(0)
    if pages > 1:
        raise ValueError(f"{pages} pages, which may be channels or planes; save each, or their colours, as one page")


def convert_to_rgb(image: Image, value_range: ValueRange | None = None) -> Image:
    """Converts a loaded picture to 8-bit RGB; transparency is dropped.

    Integers and floats are scaled linearly so that ``value_range`` becomes 0 to 255. Raises ValueError without one.
    """
    from PIL import Image

    if image.mode == "RGB":
        return image
    if value_kind(image) in ("integers", "floats"):
        if value_range is None:
            raise ValueError("more than 8 bits per value, unlike the others; convert it or set the range of values")
        low, high = value_range
        grey = np.clip(np.rint((read_values(image) - low) * (255 / (high - low))), 0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")  # PIL warns of palettes with transparency if they are converted directly
    return image.convert("RGB")


def _sample_format(image: Image) -> int:
    """The type of numbers in a TIFF; 0 in other files."""
    tag = _tag(image, SAMPLE_FORMAT, UNSIGNED) if image.format == "TIFF" else 0
    return int(tag[0] if isinstance(tag, tuple) else tag)


def _tag(image: Image, number: int, default: int) -> Any:
    return getattr(image, "tag_v2", {}).get(number, default)
