"""Encoders: networks whose layers can be read at named taps, usually conv1 … conv5.

A file in this folder is an encoder plugin. Its class is named like the file, and the class's
keyword-only arguments are its settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..images.augment import to_float
from ..images.colour import rgb_to_lab
from ..images.input_spec import InputSpec

BATCH_NORM_COUNTER = "num_batches_tracked"  # plays no part in evaluation, and many checkpoints lack it

ColourPart = Literal["colour", "lightness", "chroma"]


def class_token_of(tap: str) -> str:
    """The name under which `Encoder.features` returns the class token at a tap."""
    return f"{tap}:token"


class Encoder(nn.Module):
    """Images (N, 3, H, W), uint8 or in [0, 1] -> features at ordered taps, and the pooled embedding (N, dim).

    All preprocessing (mean, standard deviation, colour space, channels) is done here and nowhere else.
    A subclass fills ``stages``, one module per tap from shallow to deep, and ``widths``, the channels of each tap.
    """

    mean: Tensor  # (1, channels, 1, 1), of values in [0, 1]
    std: Tensor

    colour_part: ColourPart = "colour"
    """What the encoder sees of an image: everything, its lightness L* alone, or its chroma a* and b* alone."""

    input_spec: InputSpec | None = None
    """The preprocessing that a checkpoint expects; None if images are used at the size and colours they have."""

    input_size: int | None = None
    """The side in pixels of the square images that it was built for; None if nobody said so."""

    foldable: ClassVar[bool] = True
    """Whether batch norms may be folded into the convolutions before them without changing a tap."""

    patchwise: ClassVar[bool] = False
    """Whether it can encode some of an image's patches alone: it has ``patch_tokens`` and ``encode_tokens``, as ViT."""

    later_settings: ClassVar[dict[str, Any]] = {}
    """Settings that were added after records had been made, with their defaults: left out of keys then."""

    def __init__(
        self, *, mean: tuple[float, ...] = (0.5, 0.5, 0.5), std: tuple[float, ...] = (0.25, 0.25, 0.25)
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.stages = nn.ModuleDict()
        self.widths: dict[str, int] = {}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """Prefixes of our parameter names -> those of a publisher; yields one dictionary per known layout."""
        yield {}

    def settings_from_extra_keys(self, names: Sequence[str]) -> dict[str, Any]:
        """Settings that follow from a checkpoint's other parameter names, which identify the program that saved it."""
        return {}

    @property
    def unseen_in_files(self) -> str:
        """What is assumed because the tensors of a checkpoint do not show it, and how to change it; "" for nothing."""
        return ""

    def with_input_spec(self, input_spec: InputSpec) -> Self:
        """Makes this encoder preprocess images as a checkpoint expects, and returns it."""
        self.input_spec = input_spec
        self.mean = torch.tensor(input_spec.mean, device=self.mean.device).view(1, -1, 1, 1)
        self.std = torch.tensor(input_spec.std, device=self.mean.device).view(1, -1, 1, 1)
        return self

    @property
    def token_taps(self) -> tuple[str, ...]:
        """The taps at which it has a class token; empty for a network without one."""
        return ()

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the layers that can be read, shallow to deep."""
        return tuple(self.widths)

    @property
    def dim(self) -> int:
        """Dimensions of the pooled embedding."""
        return self.widths[self.taps[-1]]

    def prepare_images(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the first layer's input: float, normalised, channels last."""
        values = to_float(images) if self.colour_part == "colour" else select_colour_part(images, self.colour_part)
        if self.input_spec:
            values = convert_colour(crop_and_resize(values, self.input_spec), self.input_spec.colour)
        values = (values - self.mean) / self.std
        if self.input_spec and self.input_spec.colour == "sobel":
            values = sobel_responses(values)
        return values.contiguous(memory_format=torch.channels_last)

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w), shallow to deep."""
        features = self.prepare_images(images)
        for tap, stage in self.stages.items():
            features = stage(features)
            yield tap, features

    def iter_outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """As `iter_features`, and at each of `token_taps` also the class token as a map (N, C, 1, 1)."""
        yield from self.iter_features(images)

    def features(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps (N, C, h, w) of the given taps, from one forward pass that stops at the deepest of them.

        A name from `class_token_of` stands for the class token (N, C, 1, 1) at a tap.
        """
        missing = set(names)
        found = {}
        for name, features in self.iter_outputs(images):
            if name in missing:
                found[name] = features
                missing.discard(name)
            if not missing:
                break
        return found

    def last_features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> the last tap's feature maps (N, dim, h, w), not yet pooled."""
        last = self.taps[-1]
        return self.features(images, [last])[last]

    def norm_after_pooling(self, pooled: Tensor) -> Tensor:
        """Applies the final norm of a network that normalises after pooling, not before (N, dim, h, w)."""
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> pooled embedding (N, dim)."""
        return self.norm_after_pooling(F.adaptive_avg_pool2d(self.last_features(images), 1)).flatten(1)


def crop_and_resize(images: Tensor, input_spec: InputSpec) -> Tensor:
    """Square images (N, 3, S, S) in [0, 1] -> the central crop, resized to (N, 3, size, size)."""
    side = images.shape[-1]
    crop_side = max(1, round(side * input_spec.crop))
    start = (side - crop_side) // 2
    crop = images[..., start : start + crop_side, start : start + crop_side]
    if crop_side == input_spec.size:
        return crop
    resized = F.interpolate(crop, (input_spec.size, input_spec.size), mode=input_spec.resampling, antialias=True)
    return resized.clamp(0, 1)  # a bicubic kernel overshoots


def convert_colour(images: Tensor, colour: str) -> Tensor:
    """RGB images in [0, 1] -> the channels of a colour mode, before normalisation."""
    if colour == "lightness":
        return rgb_to_lab(images)[:, :1]
    return images.flip(1) if colour == "bgr" else images


def sobel_responses(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> horizontal and vertical Sobel responses of the channels' mean (N, 2, H, W)."""
    grey = images.mean(1, keepdim=True)
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, -1.0])
    kernels = torch.stack([smooth.outer(slope), slope.outer(smooth)]).unsqueeze(1)
    return F.conv2d(grey, kernels.to(grey), padding=1)


def conv_bn_relu(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; padded so that stride 1 keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def select_colour_part(images: Tensor, part: ColourPart) -> Tensor:
    """Images (N, 3, H, W) -> three channels in [0, 1]: L* three times, or a*, b* and their mean."""
    L, a, b = rgb_to_lab(images).unbind(1)
    channels = [L / 100] * 3 if part == "lightness" else [a / 220 + 0.5, b / 220 + 0.5, (a + b) / 440 + 0.5]
    return torch.stack(channels, dim=1)


def normalise_channels(maps: Tensor, norm: nn.Module) -> Tensor:
    """Feature maps (N, C, h, w) -> the same with the layer norm applied to the channels of each position."""
    if "2d" in type(norm).__name__:  # the libraries' variants for maps
        values: Tensor = norm(maps)
        return values
    values = norm(maps.permute(0, 2, 3, 1))
    return values.permute(0, 3, 1, 2)


def weights_hash(encoder: Encoder) -> str:
    """Hex digest of all parameters and batch-norm statistics, independent of the file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        if name.endswith(BATCH_NORM_COUNTER):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
