"""Views: batched, drawn anew for every image, on the images' own device.

Images and views are (N, C, S, S), uint8 as stored or floats in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")
Seen = TypeVar("Seen")

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


def in_full_precision(view: Callable[Concatenate[Tensor, P], Seen]) -> Callable[Concatenate[Tensor, P], Seen]:
    """A view function outside autocast, whose matrix products would round where a crop lies and what colour it has."""

    @wraps(view)
    def full(images: Tensor, *args: P.args, **kwargs: P.kwargs) -> Seen:
        with torch.autocast(images.device.type, enabled=False):
            return view(images, *args, **kwargs)

    return full


def floats(images: Tensor) -> Tensor:
    """uint8 or float images -> floats in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def chance(images: Tensor, probability: float) -> Tensor:
    """One coin an image: bool (N, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, device=images.device) < probability


def uniform(images: Tensor, low: float, high: float) -> Tensor:
    """One number an image: (N, 1, 1, 1)."""
    return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)


def flip_some(images: Tensor, probability: float = 0.5) -> Tensor:
    """Mirrors each image left to right with the given probability."""
    return torch.where(chance(images, probability), images.flip(-1), images)


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Moves each image by up to ``pixels`` in both directions; what comes in repeats the border."""
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


@in_full_precision
def resized_crops(
    images: Tensor,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    size: int | None = None,
) -> Tensor:
    """A random part of each image, mirrored or not, resized: floats (N, C, size, size).

    ``scale`` is the part's share of the area, ``ratio`` its width over height (drawn on a log scale),
    as in Szegedy et al. 2015; a part that would stick out is cut to the image, not drawn again.
    """
    N, C, S, _ = images.shape
    size = size or S
    area = uniform(images, *scale).flatten()
    log_low, log_high = (torch.log(torch.tensor(bound)).item() for bound in ratio)
    stretch = uniform(images, log_low, log_high).flatten().div(2).exp()
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    mirror = 1 - 2 * chance(images, flip).flatten().float()
    x, y = (torch.rand(2, N, device=images.device) * 2 - 1) * torch.stack([1 - width, 1 - height])
    zero = torch.zeros_like(x)
    affine = torch.stack([width * mirror, zero, x, zero, height, y], dim=1).view(N, 2, 3)
    grid = F.affine_grid(affine, [N, C, size, size], align_corners=False)
    return F.grid_sample(floats(images), grid, mode="bilinear", padding_mode="border", align_corners=False)


@in_full_precision
def recoloured(
    images: Tensor,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    jitter: float = 1.0,
    grey: float = 0.2,
) -> Tensor:
    """Colour jitter (with probability ``jitter``) and greying (``grey``), as one colour matrix an image.

    The operations are SimCLR's (Chen et al. 2020, appendix A) in a fixed order, clamped once at the end;
    hue turns the chroma plane of YIQ by up to ``hue`` of a full turn.
    """
    images = floats(images)
    N = len(images)
    constant = partial(torch.tensor, device=images.device, dtype=images.dtype)
    on = chance(images, jitter).view(N, 1, 1).to(images.dtype)

    def factor(strength: float) -> Tensor:
        return 1 + on * uniform(images, -min(strength, 1), strength).view(N, 1, 1)

    luma = constant(GREY).expand(3, 3)
    identity = torch.eye(3, device=images.device, dtype=images.dtype)
    yiq = constant([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    back = constant([[1.0, 0.956, 0.619], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])
    turn = on.view(N) * uniform(images, -hue, hue).view(N) * 2 * torch.pi
    cosine, sine, one, zero = turn.cos(), turn.sin(), torch.ones_like(turn), torch.zeros_like(turn)
    rotation = torch.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], dim=1).view(N, 3, 3)
    colours = back @ rotation @ yiq
    keep = factor(saturation) * (1 - chance(images, grey).view(N, 1, 1).to(images.dtype))
    colours = (keep * identity + (1 - keep) * luma) @ colours
    level, spread = factor(brightness), factor(contrast)
    means = (constant(GREY) @ images.mean((2, 3)).unsqueeze(-1)).view(N, 1, 1)
    views = (level * spread * colours) @ images.flatten(2) + level * (1 - spread) * means
    return views.clamp_(0, 1).view_as(images)


@in_full_precision
def blurred(images: Tensor, *, probability: float = 0.5, sigma: tuple[float, float] = (0.1, 2.0)) -> Tensor:
    """Gaussian blur of some images, each with a standard deviation of its own in pixels: floats (N, C, S, S).

    The window is a tenth of the image's side, at least three pixels (Chen et al. 2020, appendix A), and the
    border is reflected. Rows and columns are weighed by one matrix an image, the reflections folded into it.
    """
    images = floats(images)
    N, _, S, _ = images.shape
    radius = max(1, S // 20)
    steps = torch.arange(radius + 1, device=images.device)
    scale = uniform(images, *sigma).view(N, 1)
    bell = (-0.5 * (steps / scale).square()).exp()
    bell = F.pad(bell / (2 * bell.sum(1, keepdim=True) - 1), (0, 1))  # (N, radius + 2), zero beyond the window
    place = torch.arange(S, device=images.device)
    row, column = place.unsqueeze(1), place.unsqueeze(0)
    beyond = torch.full((S, S), radius + 1, device=images.device)
    # How far from a pixel another lies: itself, its image in the first border, and that in the last.
    distances = torch.stack(
        [
            (row - column).abs(),
            torch.where(column > 0, row + column, beyond),
            torch.where(column < S - 1, 2 * (S - 1) - row - column, beyond),
        ]
    ).clamp(max=radius + 1)
    weights = bell[:, distances].sum(1).unsqueeze(1)  # (N, 1, S, S)
    return torch.where(chance(images, probability), (weights @ images @ weights.mT).clamp(0, 1), images)


def solarised(images: Tensor, *, probability: float = 0.2, threshold: float = 0.5) -> Tensor:
    """Inverts what is at least as bright as the threshold, channel by channel, in some images: floats in [0, 1]."""
    images = floats(images)
    return torch.where(chance(images, probability) & (images >= threshold), 1 - images, images)
