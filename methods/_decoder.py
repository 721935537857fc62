"""Parts that methods which paint share: the decoder, what it starts from, and how near a painting comes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Encoder

NARROWEST = 16  # maps that a decoder never falls below


class Decoder(nn.Sequential):
    """Maps (N, inputs, side, side) -> unbounded values of images (N, 3, size, size).

    A 1 x 1 convolution, then transposed convolutions of 4 x 4 that double the side while they halve the width
    (Radford et al. 2016); what is left to a size that is no doubling is interpolated.
    """

    def __init__(self, inputs: int, *, side: int, size: int, width: int | None = None) -> None:
        width = width or max(NARROWEST, inputs // 4)
        super().__init__(*normalised(nn.Conv2d(inputs, width, 1, bias=False), width))
        while 4 * side <= size:
            narrower = max(NARROWEST, width // 2)
            self.extend(normalised(nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False), narrower))
            side, width = 2 * side, narrower
        doubles = 2 * side <= size
        self.append(nn.ConvTranspose2d(width, 3, 4, 2, 1) if doubles else nn.Conv2d(width, 3, 3, padding=1))
        if side * (1 + doubles) != size:
            self.append(nn.Upsample(size, mode="bilinear"))


class Across(nn.Module):
    """The channel-wise fully connected layer: each map (side, side) has weights of its own (section 3.1)."""

    def __init__(self, maps: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps, side**2, side**2).uniform_(-1 / side, 1 / side))
        self.bias = nn.Parameter(torch.zeros(maps * side**2))  # flat, so that it does not decay

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, side, side) -> the same shape."""
        mixed = torch.bmm(maps.flatten(2).transpose(0, 1), self.weight).transpose(0, 1)
        return F.relu(mixed.reshape(maps.shape) + self.bias.view(maps.shape[1:]))


def normalised(layer: nn.Module, width: int) -> list[nn.Module]:
    """The layer, batch norm and ReLU."""
    return [layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


@torch.no_grad()
def side_of_maps(encoder: Encoder, size: int) -> int:
    """Side of the last tap's maps for images of that size; the encoder stays as it is."""
    training = encoder.training
    maps = encoder.eval().deepest(torch.zeros(1, 3, size, size, device=encoder.mean.device))
    encoder.train(training)
    return maps.shape[-1]


def psnr(mean_squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels of errors in values of [0, 1]."""
    return -10 * mean_squared_error.clamp_min(1e-10).log10()
