"""Parts of methods that reconstruct images: the decoder, the channel-wise layer, and the error in decibels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Encoder

MIN_WIDTH = 16  # feature maps that every layer of a decoder has at least


class Decoder(nn.Sequential):
    """Feature maps (N, inputs, side, side) -> images (N, 3, size, size) whose values are not bounded.

    A 1 x 1 convolution is followed by 4 x 4 transposed convolutions, each of which doubles the side and halves the
    width (Radford et al. 2016). If doubling cannot reach ``size`` exactly, the last step is an interpolation.
    """

    def __init__(self, inputs: int, *, side: int, size: int, width: int | None = None) -> None:
        width = width or max(MIN_WIDTH, inputs // 4)
        super().__init__(*with_batch_norm(nn.Conv2d(inputs, width, 1, bias=False), width))
        while 4 * side <= size:
            narrower = max(MIN_WIDTH, width // 2)
            self.extend(with_batch_norm(nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False), narrower))
            side, width = 2 * side, narrower
        doubles = 2 * side <= size
        self.append(nn.ConvTranspose2d(width, 3, 4, 2, 1) if doubles else nn.Conv2d(width, 3, 3, padding=1))
        if side * (1 + doubles) != size:
            self.append(nn.Upsample(size, mode="bilinear"))


class ChannelwiseLinear(nn.Module):
    """The channel-wise fully connected layer of Pathak et al. 2016, section 3.1: a separate matrix for each map."""

    def __init__(self, maps: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps, side**2, side**2).uniform_(-1 / side, 1 / side))
        self.bias = nn.Parameter(torch.zeros(maps * side**2))  # one axis: the recipe exempts such weights from decay

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, side, side) -> the same shape."""
        mixed = torch.bmm(maps.flatten(2).transpose(0, 1), self.weight).transpose(0, 1)
        return F.relu(mixed.reshape(maps.shape) + self.bias.view(maps.shape[1:]))


def with_batch_norm(layer: nn.Module, width: int) -> list[nn.Module]:
    """The layer, followed by batch norm and ReLU."""
    return [layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


@torch.no_grad()
def deepest_map_side(encoder: Encoder, size: int) -> int:
    """Side of the last tap's feature maps for images of ``size`` pixels; the encoder is left unchanged."""
    training = encoder.training
    side: int = encoder.eval().last_features(torch.zeros(1, 3, size, size, device=encoder.mean.device)).shape[-1]
    encoder.train(training)
    return side


def psnr(mean_squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, for values in [0, 1]."""
    return -10 * mean_squared_error.clamp_min(1e-10).log10()
