"""Parts that jigsaw puzzles share: an image's nine tiles, and tiles laid out as a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._patches import squares

GRID = 3
TILES = GRID * GRID


def cut(images: Tensor, cell: int, tile: int) -> Tensor:
    """(N, C, S, S) -> tiles (N, 9, C, tile, tile), each at a random place of its own within its cell, row by row."""
    cells = torch.arange(TILES, device=images.device)
    top, left = torch.randint(cell - tile + 1, (2, len(images), TILES), device=images.device)
    return squares(images, cells // GRID * cell + top, cells % GRID * cell + left, tile)


def joined(tiles: Tensor) -> Tensor:
    """Tiles (N, 9, C, s, s), row by row -> one picture (N, C, S, S) with white between them."""
    framed = F.pad(tiles.clamp(0, 1), (1, 1, 1, 1), value=1.0).unflatten(1, (GRID, GRID))
    return framed.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
