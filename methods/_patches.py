"""Parts that methods on patches share: cutting squares out of images, making them alike in light, and showing them."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import augment

SHOWN = 192  # pixels of a side of what is shown, about
YELLOW, GREEN = (1.0, 0.85, 0.0), (0.2, 0.9, 0.2)


def squares(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """(N, C, S, S) and the corners of P squares in each image, int64 (N, P) -> the squares (N, P, C, side, side)."""
    N, C = images.shape[:2]
    device = images.device
    within = torch.arange(side, device=device)
    rows, columns = top.unsqueeze(-1) + within, left.unsqueeze(-1) + within  # (N, P, side)
    item = torch.arange(N, device=device).view(N, 1, 1, 1, 1)
    channel = torch.arange(C, device=device).view(1, 1, C, 1, 1)
    return images[item, channel, rows[:, :, None, :, None], columns[:, :, None, None, :]]


def overlapping(images: Tensor, grid: int, margin: int) -> Tensor:
    """(N, C, S, S) -> a grid of patches (N, grid, grid, C, s, s), each half over the next ones.

    A patch is two strides wide but for a margin in pixels, cut off at random sides of each.
    """
    N, stride = len(images), images.shape[-1] // (grid + 1)
    cells = torch.arange(grid**2, device=images.device)
    moved = torch.randint(margin + 1, (2, N, grid**2), device=images.device)
    top, left = cells // grid * stride + moved[0], cells % grid * stride + moved[1]
    return squares(images, top, left, 2 * stride - margin).unflatten(1, (grid, grid))


def neighbours(grid: int, window: int) -> list[tuple[int, int]]:
    """All ordered pairs of places of a square grid, row by row, at most ``window`` rows and columns apart."""
    return [
        (a, b)
        for a, b in permutations(range(grid**2), 2)
        if max(abs(a // grid - b // grid), abs(a % grid - b % grid)) <= window
    ]


def alike(patches: Tensor) -> Tensor:
    """Gives every patch (..., C, s, s) the same mean and spread per channel: 0.5 and 0.25."""
    patches = augment.floats(patches)
    spread, mean = torch.std_mean(patches, (-2, -1), keepdim=True, correction=0)
    return 0.5 + 0.25 * (patches - mean) / (spread + 1e-2)


@augment.in_full_precision
def uncoloured(patches: Tensor, colour: str) -> Tensor:
    """Takes from float patches (N, P, 3, s, s) the colours that betray place (Doersch et al. 2015, section 3.1).

    "drop" leaves one channel, drawn for each patch; the others become grey with noise of 1/100 of its spread.
    "projection" takes the axis from green to magenta out of each pixel.
    """
    if colour == "keep":
        return patches
    if colour == "projection":
        axis = patches.new_tensor([-1.0, 2.0, -1.0])
        return patches - torch.einsum("npchw,c,d->npdhw", patches, axis, axis) / axis.dot(axis)
    kept = F.one_hot(torch.randint(3, patches.shape[:2], device=patches.device), 3).bool()[..., None, None]
    spread = (patches.std((-2, -1), keepdim=True, correction=0) * kept).sum(2, keepdim=True)
    return torch.where(kept, patches, 0.5 + 0.01 * spread * torch.randn_like(patches))


def magnified(images: Tensor, times: int) -> Tensor:
    """Every pixel of (..., h, w) as a square of that many pixels a side."""
    return images.repeat_interleave(times, -1).repeat_interleave(times, -2)


def framed(images: Tensor, top: Tensor, left: Tensor, side: int, colour: tuple[float, float, float]) -> Tensor:
    """Float images (N, 3, h, w) with a frame, 3 pixels wide, along the inner edge of a square each at corners (N,)."""
    down, right = (torch.arange(length, device=images.device) for length in images.shape[-2:])

    def square(margin: int) -> Tensor:
        along, across = (
            (place >= start.unsqueeze(1) + margin) & (place < start.unsqueeze(1) + side - margin)
            for place, start in ((down, top), (right, left))
        )
        return (along.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1)

    return torch.where(square(0) & ~square(3), images.new_tensor(colour).view(1, 3, 1, 1), images)


def placed(shares: Tensor) -> Tensor:
    """Shares (N, 8) of the places around a centre -> a picture (N, 3, h, h) of nine grey cells: 1 is white."""
    cells = torch.cat([shares[:, :4], torch.zeros_like(shares[:, :1]), shares[:, 4:]], dim=1)
    return magnified(cells.view(-1, 1, 3, 3).expand(-1, 3, -1, -1), SHOWN // 3)


def laid_out(patches: Tensor, columns: int, marks: Tensor | None = None) -> Tensor:
    """Patches (N, P, 3, s, s), row by row -> a picture (N, 3, h, w); those with a mark (N, P) have a green border."""
    marks = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device) if marks is None else marks
    tiles = F.pad(magnified(patches.clamp(0, 1), max(1, SHOWN // 3 // patches.shape[-1])), (3, 3, 3, 3), value=1.0)
    border = torch.ones_like(tiles[0, 0, 0], dtype=torch.bool)
    border[3:-3, 3:-3] = False
    green = tiles.new_tensor(GREEN).view(3, 1, 1)
    tiles = torch.where(border & marks[..., None, None, None], green, tiles)
    return tiles.unflatten(1, (-1, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
