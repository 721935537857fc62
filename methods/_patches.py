"""What methods on image patches share: cutting patches, and removing cues that reveal their place."""

from __future__ import annotations

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import augment, without_autocast


def cut_squares(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Images (N, C, S, S) and upper left corners, int64 (N, P) each -> squares (N, P, C, side, side)."""
    N, C = images.shape[:2]
    device = images.device
    within = torch.arange(side, device=device)
    rows, columns = top.unsqueeze(-1) + within, left.unsqueeze(-1) + within  # (N, P, side)
    item = torch.arange(N, device=device).view(N, 1, 1, 1, 1)
    channel = torch.arange(C, device=device).view(1, 1, C, 1, 1)
    return images[item, channel, rows[:, :, None, :, None], columns[:, :, None, None, :]]


def cut_overlapping_patches(images: Tensor, grid: int, margin: int) -> Tensor:
    """(N, C, S, S) -> a grid of patches (N, grid, grid, C, s, s); adjacent ones overlap by about half.

    A patch is two strides wide, less ``margin`` pixels per axis, and is cut at a random place within this reach.
    """
    N, stride = len(images), images.shape[-1] // (grid + 1)
    cells = torch.arange(grid**2, device=images.device)
    moved = torch.randint(margin + 1, (2, N, grid**2), device=images.device)
    top, left = cells // grid * stride + moved[0], cells % grid * stride + moved[1]
    patches = cut_squares(images, top, left, 2 * stride - margin)
    return patches.reshape(N, grid, grid, *patches.shape[2:])


def neighbour_pairs(grid: int, window: int) -> list[tuple[int, int]]:
    """All ordered pairs of places in a square grid, numbered row by row, at most ``window`` rows and columns apart."""
    return [
        (a, b)
        for a, b in permutations(range(grid**2), 2)
        if max(abs(a // grid - b // grid), abs(a % grid - b % grid)) <= window
    ]


def normalised_patches(patches: Tensor) -> Tensor:
    """Patches (..., C, s, s) scaled to a mean of 0.5 and a standard deviation of 0.25 per channel."""
    patches = augment.to_float(patches)
    std, mean = torch.std_mean(patches, (-2, -1), keepdim=True, correction=0)
    return 0.5 + 0.25 * (patches - mean) / (std + 1e-2)


@without_autocast
def remove_colour(patches: Tensor, colour: str) -> Tensor:
    """Removes the colours that reveal a patch's place from floats (N, P, 3, s, s) (Doersch et al. 2015, section 3.1).

    "drop" keeps one random channel per patch and replaces the others by noise around grey, with 1/100 of the standard
    deviation of the one kept. "projection" removes the axis from green to magenta. "keep" changes nothing.
    """
    if colour == "keep":
        return patches
    if colour == "projection":
        axis = patches.new_tensor([-1.0, 2.0, -1.0])
        return patches - torch.einsum("npchw,c,d->npdhw", patches, axis, axis) / axis.dot(axis)
    kept = F.one_hot(torch.randint(3, patches.shape[:2], device=patches.device), 3).bool()[..., None, None]
    std = (patches.std((-2, -1), keepdim=True, correction=0) * kept).sum(2, keepdim=True)
    return torch.where(kept, patches, 0.5 + 0.01 * std * torch.randn_like(patches))
