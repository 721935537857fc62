"""Random augmentations that turn a batch of images into views.

Every function draws independent random numbers per image and works on the images' own device.
Images and views are (N, C, S, S), uint8 as stored or floats in [0, 1].
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import without_autocast
from .larger import larger_copy_of, with_larger_copy

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601


def to_float(images: Tensor) -> Tensor:
    """Converts uint8 images to floats in [0, 1]; float images are returned unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def repeat_images(images: Tensor, times: int) -> Tensor:
    """All images, then all of them again, and so on: (times N, C, S, S), with the larger copy that they carry."""
    repeated, larger = torch.cat([images] * times), larger_copy_of(images)
    return repeated if larger is None else with_larger_copy(repeated, torch.cat([larger] * times))


def bernoulli_per_image(images: Tensor, probability: float) -> Tensor:
    """Draws one Boolean per image that is true with the given probability: (N, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, device=images.device) < probability


def uniform_per_image(images: Tensor, low: float, high: float) -> Tensor:
    """Draws one number per image, uniform in [low, high): (N, 1, 1, 1)."""
    return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)


def random_flip(images: Tensor, probability: float = 0.5) -> Tensor:
    """Mirrors each image left to right with the given probability."""
    return torch.where(bernoulli_per_image(images, probability), images.flip(-1), images)


def random_shift(images: Tensor, pixels: int) -> Tensor:
    """Shifts each image by up to ``pixels`` along both axes; the uncovered margin repeats the border."""
    N, C, S, _ = images.shape
    device = images.device
    steps = torch.arange(S, device=device)
    down, right = torch.randint(-pixels, pixels + 1, (2, N, 1), device=device)
    rows = (steps + down).clamp(0, S - 1)[:, None, :, None]
    columns = (steps + right).clamp(0, S - 1)[:, None, None, :]
    return images[
        torch.arange(N, device=device)[:, None, None, None],
        torch.arange(C, device=device)[:, None, None],
        rows,
        columns,
    ]


@without_autocast
def random_resized_crops(
    images: Tensor,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    size: int | None = None,
) -> Tensor:
    """Crops a random window of each image, mirrors some and resizes: floats (N, C, size, size).

    ``scale`` bounds the window's share of the image's area and ``ratio`` its width over height (drawn on
    a log scale), as in Szegedy et al. 2015. A window larger than the image is clipped to it, not drawn again.
    Where the images carry a larger copy of themselves, the pixels are read from it, and ``size`` is still theirs.
    """
    N, C, S, _ = images.shape
    size = size or S
    area = uniform_per_image(images, *scale).flatten()
    log_low, log_high = (torch.log(torch.tensor(bound)).item() for bound in ratio)
    stretch = uniform_per_image(images, log_low, log_high).flatten().div(2).exp()
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    mirror = 1 - 2 * bernoulli_per_image(images, flip).flatten().float()
    x, y = (torch.rand(2, N, device=images.device) * 2 - 1) * torch.stack([1 - width, 1 - height])
    zero = torch.zeros_like(x)
    affine = torch.stack([width * mirror, zero, x, zero, height, y], dim=1).view(N, 2, 3)
    grid = F.affine_grid(affine, [N, C, size, size], align_corners=False)
    larger = larger_copy_of(images)
    source = to_float(images if larger is None else larger)
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)


@without_autocast
def colour_jitter(
    images: Tensor,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    jitter: float = 1.0,
    grey: float = 0.2,
) -> Tensor:
    """Changes colours with probability ``jitter`` and turns images grey with probability ``grey``.

    The operations are SimCLR's (Chen et al. 2020, appendix A) in a fixed order, as one colour matrix per image
    and clamped once at the end. The hue rotates by up to ``hue`` of a full turn in the chroma plane of YIQ.
    """
    images = to_float(images)
    N = len(images)
    constant = partial(torch.tensor, device=images.device, dtype=images.dtype)
    on = bernoulli_per_image(images, jitter).view(N, 1, 1).to(images.dtype)

    def factor(strength: float) -> Tensor:
        return 1 + on * uniform_per_image(images, -min(strength, 1), strength).view(N, 1, 1)

    luma = constant(LUMA_WEIGHTS).expand(3, 3)
    identity = torch.eye(3, device=images.device, dtype=images.dtype)
    yiq = constant([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    back = constant([[1.0, 0.956, 0.619], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])
    turn = on.view(N) * uniform_per_image(images, -hue, hue).view(N) * 2 * torch.pi
    cosine, sine, one, zero = turn.cos(), turn.sin(), torch.ones_like(turn), torch.zeros_like(turn)
    rotation = torch.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], dim=1).view(N, 3, 3)
    colours = back @ rotation @ yiq
    keep = factor(saturation) * (1 - bernoulli_per_image(images, grey).view(N, 1, 1).to(images.dtype))
    colours = (keep * identity + (1 - keep) * luma) @ colours
    level, spread = factor(brightness), factor(contrast)
    means = (constant(LUMA_WEIGHTS) @ images.mean((2, 3)).unsqueeze(-1)).view(N, 1, 1)
    views = (level * spread * colours) @ images.flatten(2) + level * (1 - spread) * means
    return views.clamp_(0, 1).view_as(images)


@without_autocast
def gaussian_blur(images: Tensor, *, probability: float = 0.5, sigma: tuple[float, float] = (0.1, 2.0)) -> Tensor:
    """Blurs each image with the given probability; the standard deviation is in pixels: floats (N, C, S, S).

    The window is a tenth of the image's side, at least three pixels (Chen et al. 2020, appendix A), and the
    border is reflected. One matrix per image, into which the reflections are folded, blurs rows and columns.
    """
    images = to_float(images)
    N, _, S, _ = images.shape
    radius = max(1, S // 20)
    steps = torch.arange(radius + 1, device=images.device)
    scale = uniform_per_image(images, *sigma).view(N, 1)
    bell = (-0.5 * (steps / scale).square()).exp()
    bell = F.pad(bell / (2 * bell.sum(1, keepdim=True) - 1), (0, 1))  # (N, radius + 2), zero beyond the window
    place = torch.arange(S, device=images.device)
    row, column = place.unsqueeze(1), place.unsqueeze(0)
    beyond = torch.full((S, S), radius + 1, device=images.device)
    # Distances from a pixel to another one, to its reflection in the first border and to that in the last.
    distances = torch.stack(
        [
            (row - column).abs(),
            torch.where(column > 0, row + column, beyond),
            torch.where(column < S - 1, 2 * (S - 1) - row - column, beyond),
        ]
    ).clamp(max=radius + 1)
    weights = bell[:, distances].sum(1).unsqueeze(1)  # (N, 1, S, S)
    return torch.where(bernoulli_per_image(images, probability), (weights @ images @ weights.mT).clamp(0, 1), images)


def solarise(images: Tensor, *, probability: float = 0.2, threshold: float = 0.5) -> Tensor:
    """Inverts values at or above the threshold, channel by channel, with the given probability: floats in [0, 1]."""
    images = to_float(images)
    return torch.where(bernoulli_per_image(images, probability) & (images >= threshold), 1 - images, images)
