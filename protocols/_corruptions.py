"""Corruptions of pictures at five severities, with the constants of ImageNet-C and CIFAR-10-C.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
section 3 (https://arxiv.org/abs/1903.12261); constants of https://github.com/hendrycks/robustness: those of ImageNet-C
for pictures of more than 64 pixels, those of CIFAR-10-C up to 64. Where we differ: values are rounded and not cut, and
the blur of ImageNet-C is its extra one, the Gaussian.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sslbench import augment

SEVERITIES = range(1, 6)
SMALL = 64  # pixels; up to this side the constants of CIFAR-10-C apply
TRUNCATE = 4  # standard deviations at which a blur's kernel ends

# Name -> its strength at each severity: of small pictures, and of large ones.
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, of values in [0, 1]
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0)  # standard deviation in pixels
JPEG = (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)  # quality
BRIGHTNESS = (0.05, 0.10, 0.15, 0.20, 0.30), (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the largest of red, green and blue


def add_noise(images: Tensor, strength: float) -> Tensor:
    """Adds normal noise, which depends on the picture alone: not on its batch, its place or the device."""
    drawn = []
    for image in images.cpu():
        seed = zlib.crc32(image.contiguous().numpy().tobytes())
        drawn.append(torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)))
    return images + strength * torch.stack(drawn).to(images.device)


def blur(images: Tensor, strength: float) -> Tensor:
    """Blurs with a Gaussian; beyond the border, pictures repeat their outermost pixels."""
    reach = int(TRUNCATE * strength + 0.5)
    places = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-((places / strength) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    wide = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(wide, kernel, groups=images.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=images.shape[1])


def compress(images: Tensor, strength: float) -> Tensor:
    """Saves as JPEG of a quality from 1 to 100, and reads that again."""
    found = []
    for pixels in images.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy():
        packed = BytesIO()
        Image.fromarray(pixels).save(packed, "JPEG", quality=int(strength))
        with Image.open(packed) as picture:
            found.append(np.asarray(picture))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(images.device) / 255


def brighten(images: Tensor, strength: float) -> Tensor:
    """Adds to the value of hue, saturation and value, at most up to 1; black becomes grey."""
    value = images.amax(1, keepdim=True)
    brighter = (value + strength).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp_min(1e-12), brighter)


CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "noise": (add_noise, NOISE),
    "blur": (blur, BLUR),
    "jpeg": (compress, JPEG),
    "brightness": (brighten, BRIGHTNESS),
}


def corruption(name: str, severity: int, side: int) -> Callable[[Tensor], Tensor]:
    """A change of batches (N, 3, S, S), uint8 or floats in [0, 1], to the same; ``side`` is S of the data set."""
    change, (small, large) = CORRUPTIONS[name]
    return partial(corrupt, change=change, strength=(small if side <= SMALL else large)[severity - 1])


def corrupt(images: Tensor, *, change: Callable[[Tensor, float], Tensor], strength: float) -> Tensor:
    """The changed images (N, 3, S, S), of the kind that they were: uint8, or floats in [0, 1]."""
    changed = change(augment.to_float(images), strength).clamp(0, 1)
    return changed.mul(255).round().byte() if images.dtype == torch.uint8 else changed
