"""Encoders: networks whose layers can be read at the taps conv1 … conv5.

A file in this folder is an encoder; its class is named like the file and its
keyword-only arguments are its settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..images.colour import lab
from ..images.input_spec import CHANNELS, InputSpec

COUNTER = "num_batches_tracked"  # of a batch norm: has no part in evaluation, and many files leave it out

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

    input_spec: InputSpec | None = None
    """What a published network input_spec a picture to look like; None where pictures are taken as they come."""

    foldable: ClassVar[bool] = True
    """Whether batch norms may be folded into the convolutions before them without changing a tap."""

    patchwise: ClassVar[bool] = False
    """Whether it can be given some of a picture's patches alone, as ``ViT`` can: ``tokens`` and ``encoded``."""

    def __init__(
        self, *, mean: tuple[float, ...] = (0.5, 0.5, 0.5), std: tuple[float, ...] = (0.25, 0.25, 0.25)
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.stages = nn.ModuleDict()
        self.widths: dict[str, int] = {}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """Beginnings of our parameters' names -> those in published files, for each way in which those are written."""
        yield {}

    def settings_from_extra_keys(self, names: Sequence[str]) -> dict[str, Any]:
        """Settings that no shape shows, but the names beside the encoder's in the file of a program that sets them."""
        return {}

    def with_input_spec(self, input_spec: InputSpec) -> Self:
        """Itself, from now on bringing pictures to what a published network input_spec to see."""
        self.input_spec = input_spec
        self.mean = torch.tensor(input_spec.mean, device=self.mean.device).view(1, -1, 1, 1)
        self.std = torch.tensor(input_spec.std, device=self.mean.device).view(1, -1, 1, 1)
        return self

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
        if self.input_spec:
            floats = coloured(framed(floats, self.input_spec), self.input_spec.colour)
        floats = (floats - self.mean) / self.std
        if self.input_spec and self.input_spec.colour == "sobel":
            floats = edges(floats)
        return floats.contiguous(memory_format=torch.channels_last)

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

    def deepest(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the last tap's feature maps (N, dim, h, w), before they are pooled."""
        last = self.taps[-1]
        return self.features(images, [last])[last]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> pooled embedding (N, dim)."""
        return F.adaptive_avg_pool2d(self.deepest(images), 1).flatten(1)


def framed(images: Tensor, input_spec: InputSpec) -> Tensor:
    """Square images (N, 3, S, S) in [0, 1] -> the middle of each, brought to the side wanted."""
    side = images.shape[-1]
    kept = max(1, round(side * input_spec.crop))
    start = (side - kept) // 2
    middle = images[..., start : start + kept, start : start + kept]
    if kept == input_spec.size:
        return middle
    resized = F.interpolate(middle, (input_spec.size, input_spec.size), mode=input_spec.resampling, antialias=True)
    return resized.clamp(0, 1)  # a bicubic kernel overshoots


def coloured(images: Tensor, colour: str) -> Tensor:
    """RGB in [0, 1] -> the channels a published network sees, before mean and deviation are taken out."""
    if colour == "lightness":
        return lab(images)[:, :1]
    return images.flip(1) if colour == "bgr" else images


def edges(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> horizontal and vertical Sobel responses of the channels' mean (N, 2, H, W)."""
    grey = images.mean(1, keepdim=True)
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, -1.0])
    kernels = torch.stack([smooth.outer(slope), slope.outer(smooth)]).unsqueeze(1)
    return F.conv2d(grey, kernels.to(grey), padding=1)


def channels_of(input_spec: InputSpec | None) -> int:
    """How many channels the first convolution gets."""
    return CHANNELS[input_spec.colour] if input_spec else 3


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


def weights_hash(encoder: Encoder) -> str:
    """Hex digest of all weights and batch-norm statistics: the content, whatever the file was called."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        if name.endswith(COUNTER):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
