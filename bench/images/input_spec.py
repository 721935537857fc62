"""What a published network wants a picture to look like; a record names all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]

CHANNELS = {"rgb": 3, "bgr": 3, "lightness": 1, "sobel": 2}
"""What each colour gives the first convolution."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The defaults are those of ImageNet's evaluation: short side to 256 pixels, the middle 224 of them."""

    size: int = 224  # pixels, square
    crop: float = 0.875  # share of a picture's side that is kept, in the middle
    resampling: Literal["bilinear", "bicubic"] = "bilinear"
    colour: Literal["rgb", "bgr", "lightness", "sobel"] = "rgb"
    mean: tuple[float, ...] = MEAN  # of values in [0, 1]; of L* in [0, 100] where only lightness is seen
    std: tuple[float, ...] = STD

    @property
    def words(self) -> str:
        """As it stands below a table."""
        parts = [f"{self.size} pixels", f"middle {self.crop:g}" if self.crop < 1 else "whole picture", self.resampling]
        parts += [self.colour] * (self.colour != "rgb")
        if (self.mean, self.std) != (MEAN, STD):
            parts.append(f"mean {_numbers(self.mean)}, std {_numbers(self.std)}")
        return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)
