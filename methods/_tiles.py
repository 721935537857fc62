"""What jigsaw puzzles share: cutting an image into nine tiles, and joining tiles to a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._patches import cut_squares

GRID = 3
TILES = GRID * GRID


def cut_tiles(images: Tensor, cell: int, tile: int) -> Tensor:
    """(N, C, S, S) -> tiles (N, 9, C, tile, tile), row by row, each at a random place within its cell."""
    cells = torch.arange(TILES, device=images.device)
    top, left = torch.randint(cell - tile + 1, (2, len(images), TILES), device=images.device)
    return cut_squares(images, cells // GRID * cell + top, cells % GRID * cell + left, tile)


def join_tiles(tiles: Tensor) -> Tensor:
    """Tiles (N, 9, C, s, s), row by row -> one picture (N, C, S, S) with white lines between them."""
    framed = F.pad(tiles.clamp(0, 1), (1, 1, 1, 1), value=1.0)
    rows = framed.reshape(len(tiles), GRID, GRID, *framed.shape[2:])
    return rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
