"""Predicting maps at a quarter of the image's resolution from an encoder's deepest feature maps.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016, figure 2, predict at this resolution.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SHARE = 4


class QuarterMaps(nn.Module):
    """Feature maps (N, inputs, h, w) -> (N, outputs, S / 4, S / 4): a linear answer at each place, enlarged."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.answer = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor, image_size: int) -> Tensor:
        """Enlarges the answers and not the features: of these there are more to multiply."""
        side = quarter(image_size)
        return F.interpolate(self.answer(maps), (side, side), mode="bilinear", align_corners=False)


def quarter(image_size: int) -> int:
    """Side of the maps that are predicted."""
    return max(1, image_size // SHARE)


def quartered(maps: Tensor) -> Tensor:
    """Maps (N, C, S, S) -> means over squares of 4 pixels (N, C, S / 4, S / 4)."""
    return F.adaptive_avg_pool2d(maps, quarter(maps.shape[-1]))


def enlarged(maps: Tensor, image_size: int) -> Tensor:
    """Maps (N, C, h, w) -> (N, C, S, S), to be shown beside an image."""
    return F.interpolate(maps.float(), (image_size, image_size), mode="bilinear", align_corners=False)
