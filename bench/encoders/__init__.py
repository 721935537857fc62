"""Encoders: networks whose layers can be read at the taps conv1 … conv5.

A file in this folder is an encoder; its class is named like the file and its
keyword-only arguments are its settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.colour import lab

Part = Literal["colour", "lightness", "chroma"]


class Encoder(nn.Module):
    """Images (N, 3, H, W), uint8 or in [0, 1] -> ordered taps, and the pooled embedding (N, dim).

    What the pictures must look like to the network (mean, standard deviation, colour space,
    channels) lives here and nowhere else. A subclass fills ``stages``, one for each tap in order,
    and ``widths``, the channels of each tap.
    """

    mean: Tensor  # (1, channels, 1, 1), of values in [0, 1]
    std: Tensor

    part: Part = "colour"
    """What it sees of a picture: all of it, its lightness L* alone, or its chroma a* and b* alone."""

    def __init__(
        self, *, mean: tuple[float, ...] = (0.5, 0.5, 0.5), std: tuple[float, ...] = (0.25, 0.25, 0.25)
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.stages = nn.ModuleDict()
        self.widths: dict[str, int] = {}

    @property
    def taps(self) -> tuple[str, ...]:
        """The layers that can be read, shallow to deep."""
        return tuple(self.widths)

    @property
    def dim(self) -> int:
        """Numbers in the pooled embedding."""
        return self.widths[self.taps[-1]]

    def prepared(self, images: Tensor) -> Tensor:
        """What the first layer sees: float, normalised, channels last."""
        if self.part == "colour":
            floats = images.float() / 255 if images.dtype == torch.uint8 else images
        else:
            floats = seen(images, self.part)
        return ((floats - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def maps(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w), shallow to deep."""
        features = self.prepared(images)
        for tap, stage in self.stages.items():
            features = stage(features)
            yield tap, features

    def features(self, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """The feature maps (N, C, h, w) of the taps asked for, from one forward pass that stops at the deepest."""
        missing = set(taps)
        found = {}
        for tap, features in self.maps(images):
            if tap in missing:
                found[tap] = features
                missing.discard(tap)
            if not missing:
                break
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> pooled embedding (N, dim)."""
        last = self.taps[-1]
        return F.adaptive_avg_pool2d(self.features(images, [last])[last], 1).flatten(1)


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; padded so that stride 1 keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def seen(images: Tensor, part: Part) -> Tensor:
    """Images (N, 3, H, W) -> three channels in [0, 1]: L* three times, or a*, b* and their mean."""
    L, a, b = lab(images).unbind(1)
    channels = [L / 100] * 3 if part == "lightness" else [a / 220 + 0.5, b / 220 + 0.5, (a + b) / 440 + 0.5]
    return torch.stack(channels, dim=1)
