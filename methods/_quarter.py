"""Predicted maps at a quarter of the image's resolution, computed from an encoder's feature maps.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016, figure 2, predict at this resolution.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 4  # by which the maps are smaller than the image


class QuarterMaps(nn.Module):
    """Feature maps (N, inputs, h, w) -> (N, outputs, S / 4, S / 4): a linear layer at each place, then resizing."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.answer = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor, image_size: int) -> Tensor:
        """Resizes the outputs rather than the features, since a larger feature map would cost more in the layer."""
        side = quarter_side(image_size)
        return F.interpolate(self.answer(maps), (side, side), mode="bilinear", align_corners=False)


def quarter_side(image_size: int) -> int:
    """The side of the predicted maps, in pixels."""
    return max(1, image_size // FACTOR)


def average_to_quarter(maps: Tensor) -> Tensor:
    """Maps (N, C, S, S) -> means over squares of 4 x 4 pixels (N, C, S / 4, S / 4)."""
    return F.adaptive_avg_pool2d(maps, quarter_side(maps.shape[-1]))


def enlarge(maps: Tensor, image_size: int) -> Tensor:
    """Maps (N, C, h, w) -> (N, C, S, S), the size of an image."""
    return F.interpolate(maps.float(), (image_size, image_size), mode="bilinear", align_corners=False)
