"""Probes that answer a question at every position of a picture, from unpooled feature maps.

N pictures with maps (N, C, h, w), and targets at the full resolution H x W. What is learned at the h x w positions is
enlarged to H x W bilinearly before it is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .feature_table import rows_per_chunk
from .label_subset import label_subset

PICTURES = 64  # whose maps are enlarged at once


def position_rows(maps: Tensor) -> Tensor:
    """Maps (N, C, h, w) -> a row of features per position (N * h * w, C)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def labels_of_positions(masks: Tensor, shape: Sequence[int], void: int) -> Tensor:
    """Masks (N, H, W) -> the most frequent label of each position's pixels (N, h, w).

    ``shape`` is (h, w), ``void`` the label of unknown pixels: only a position without any other pixel gets it.
    """
    h, w = shape
    classes = masks.unique()
    best = torch.full((len(masks), h, w), -1.0, device=masks.device)
    found = torch.full((len(masks), h, w), void, dtype=torch.int64, device=masks.device)
    for label in classes[classes != void].tolist():
        share = F.adaptive_avg_pool2d((masks == label).float()[:, None], (h, w))[:, 0]
        better = (share > best) & (share > 0)
        best, found = torch.where(better, share, best), torch.where(better, label, found)
    return found


def means_of_positions(targets: Tensor, shape: Sequence[int]) -> Tensor:
    """Targets (N, T, H, W) -> the mean over each position's pixels (N, T, h, w)."""
    h, w = shape
    return F.adaptive_avg_pool2d(targets.float(), (h, w))


def rows_of_other_pictures(pictures: int, positions: int, held_out: float) -> Tensor:
    """A mask over rows (pictures * positions,) that is false for all positions of the share of pictures held out."""
    keep = torch.zeros(pictures, dtype=torch.bool)
    keep[label_subset(torch.zeros(pictures, dtype=torch.int64), share=1 - held_out, seed=0)] = True
    return keep.repeat_interleave(positions)


def iter_enlarged(
    maps: Tensor, predict: Callable[[Tensor], Tensor], shape: Sequence[int]
) -> Iterator[tuple[slice, Tensor]]:
    """Yields which pictures, and what ``predict`` says of their maps, enlarged bilinearly to (n, T, H, W).

    ``predict`` takes rows of features (R, C) and returns (R, T).
    """
    h, w = maps.shape[2:]
    for start in range(0, len(maps), PICTURES):
        where = slice(start, start + PICTURES)
        rows = position_rows(maps[where].float())
        answers = torch.cat([predict(part) for part in rows.split(rows_per_chunk(rows))])
        answers = answers.unflatten(0, (-1, h, w)).permute(0, 3, 1, 2)
        yield where, F.interpolate(answers, tuple(shape), mode="bilinear", align_corners=False)
