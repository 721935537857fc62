"""Pictures of image patches for panels: patches outlined in their image, and patches side by side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHOWN = 192  # approximate side in pixels of the pictures in panels
Colour = tuple[float, float, float]
YELLOW: Colour = (1.0, 0.85, 0.0)
GREEN: Colour = (0.2, 0.9, 0.2)


def magnify(images: Tensor, times: int) -> Tensor:
    """Repeats each pixel of (..., h, w) as a square of ``times`` x ``times`` pixels."""
    return images.repeat_interleave(times, -1).repeat_interleave(times, -2)


def outline_squares(images: Tensor, top: Tensor, left: Tensor, side: int, colour: Colour) -> Tensor:
    """Draws a square on each float image (N, 3, h, w), 3 pixels wide and inside of it; corners are int64 (N,)."""
    down, right = (torch.arange(length, device=images.device) for length in images.shape[-2:])

    def inside(margin: int) -> Tensor:
        along, across = (
            (place >= start.unsqueeze(1) + margin) & (place < start.unsqueeze(1) + side - margin)
            for place, start in ((down, top), (right, left))
        )
        return (along.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1)

    return torch.where(inside(0) & ~inside(3), images.new_tensor(colour).view(1, 3, 1, 1), images)


def outline_patches(images: Tensor, patches: list[tuple[Tensor, Tensor, Colour]], side: int) -> Tensor:
    """Magnifies float images (N, 3, S, S) and outlines patches in each: top int64 (N,), left (N,) and colour."""
    times = max(1, SHOWN // images.shape[-1])
    picture = magnify(images, times)
    for top, left, colour in patches:
        picture = outline_squares(picture, times * top, times * left, times * side, colour)
    return picture


def draw_place_probabilities(probabilities: Tensor, place: Tensor) -> Tensor:
    """Probabilities (N, 8) of the places around a centre -> a picture of 3 x 3 grey cells (N, 3, h, h): 1 is white.

    The centre is outlined in yellow, and the true place, int64 (N,) from 0 to 8, in green.
    """
    cells = torch.cat([probabilities[:, :4], torch.zeros_like(probabilities[:, :1]), probabilities[:, 4:]], dim=1)
    side = SHOWN // 3
    picture = magnify(cells.view(-1, 1, 3, 3).expand(-1, 3, -1, -1), side)
    centre = torch.full_like(place, side)
    picture = outline_squares(picture, centre, centre, side, YELLOW)
    return outline_squares(picture, place // 3 * side, place % 3 * side, side, GREEN)


def patch_mosaic(patches: Tensor, columns: int, marks: Tensor | None = None) -> Tensor:
    """Patches (N, P, 3, s, s) -> one picture (N, 3, h, w), row by row; bool ``marks`` (N, P) give a green border."""
    marks = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device) if marks is None else marks
    tiles = F.pad(magnify(patches.clamp(0, 1), max(1, SHOWN // 3 // patches.shape[-1])), (3, 3, 3, 3), value=1.0)
    border = torch.ones_like(tiles[0, 0, 0], dtype=torch.bool)
    border[3:-3, 3:-3] = False
    green = tiles.new_tensor(GREEN).view(3, 1, 1)
    tiles = torch.where(border & marks[..., None, None, None], green, tiles)
    rows = tiles.reshape(len(tiles), -1, columns, *tiles.shape[2:])
    return rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
