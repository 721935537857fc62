"""How well a mask fits the true one: the measures of video object segmentation.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, section 3.
Masks are bool (N, H, W).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 0.008  # of the picture's diagonal: contours as close as this match


def region_similarity(found: Tensor, truth: Tensor) -> Tensor:
    """J (N,): intersection over union; 1 where both masks are empty."""
    both, either = ((part.flatten(1).sum(1)).double() for part in (found & truth, found | truth))
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def contour_accuracy(found: Tensor, truth: Tensor) -> Tensor:
    """F (N,): harmonic mean of the shares of either contour that are near the other one.

    As in the benchmark's code the matching of contours is approximated by dilation. Of two masks without a contour F is
    1; where one of the two has none, it is 0.
    """
    radius = math.ceil(TOLERANCE * math.hypot(*truth.shape[1:]))
    contours = [contour_pixels(masks) for masks in (found, truth)]
    near = [dilate(masks, radius) for masks in contours]
    precision, recall = (
        (mine & theirs).flatten(1).sum(1).double() / mine.flatten(1).sum(1).clamp_min(1)
        for mine, theirs in zip(contours, reversed(near), strict=True)
    )
    accuracy = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
    empty = ~torch.cat(contours, 1).flatten(1).any(1)
    return torch.where(empty, 1.0, accuracy)


def contour_pixels(masks: Tensor) -> Tensor:
    """Pixels that differ from their right, lower or lower right neighbour; at the border, from those inside."""
    padded = F.pad(masks[:, None].float(), (0, 1, 0, 1), mode="replicate")[:, 0].bool()
    here = padded[:, :-1, :-1]
    return (here ^ padded[:, :-1, 1:]) | (here ^ padded[:, 1:, :-1]) | (here ^ padded[:, 1:, 1:])


def dilate(masks: Tensor, radius: int) -> Tensor:
    """Pixels within so many pixels of one that is set."""
    steps = torch.arange(-radius, radius + 1, device=masks.device)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).float()
    return F.conv2d(masks[:, None].float(), disk[None, None], padding=radius)[:, 0] > 0.5
