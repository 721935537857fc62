"""The preprocessing that a registered checkpoint expects: size, crop, resampling, colour mode, mean and deviation.

Every field is part of a record's identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]

CHANNELS = {"rgb": 3, "bgr": 3, "lightness": 1, "sobel": 2}
"""Channels that the first convolution receives in each colour mode."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How images are prepared for a network.

    The defaults are ImageNet's usual evaluation: the shorter side resized to 256 pixels and the middle 224 cropped.
    """

    size: int = 224  # pixels, square
    crop: float = 0.875  # share of an image's side that the central crop keeps
    resampling: Literal["bilinear", "bicubic"] = "bilinear"
    colour: Literal["rgb", "bgr", "lightness", "sobel"] = "rgb"
    mean: tuple[float, ...] = MEAN  # of values in [0, 1]; of L* in [0, 100] in colour mode "lightness"
    std: tuple[float, ...] = STD

    @property
    def description(self) -> str:
        """All of it in one phrase, for footnotes of tables."""
        parts = [f"{self.size} pixels", f"middle {self.crop:g}" if self.crop < 1 else "whole picture", self.resampling]
        parts += [self.colour] * (self.colour != "rgb")
        if (self.mean, self.std) != (MEAN, STD):
            parts.append(f"mean {_join_numbers(self.mean)}, std {_join_numbers(self.std)}")
        return ", ".join(parts)


def _join_numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)
