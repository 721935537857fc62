"""Colours as classes: bins of the a*b* plane that sRGB can show, and conversions from colours to bins and back.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016, sections 2.1 to 2.3.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from sslbench import colour

STEP = 10.0  # distance between the centres of adjacent bins, in units of a* and b*
NEIGHBOURS, SIGMA = 5, 5.0  # of the soft encoding (section 2.2)
TEMPERATURE = 0.38  # of the annealed mean (section 2.3)
RANGE = 110.0  # largest a* and b* in sRGB; regression targets are divided by it
REACH = 12  # steps of the grid, from grey in each direction, that contain every sRGB colour
LEVELS = 65  # samples along an edge of the sRGB cube


@cache
def in_gamut_bins() -> Tensor:
    """Centres (Q, 2), multiples of ``STEP``, of those cells of the a*b* plane that contain an sRGB colour.

    Only the surface of the sRGB cube is sampled, since no colour inside it is more saturated. The paper has 313 bins
    because its list extends a little beyond what sRGB reaches; this list, of the cells reached, is shorter.
    """
    levels = torch.linspace(0, 1, LEVELS)
    cube = torch.cartesian_prod(levels, levels, levels)
    surface = cube[((cube == 0) | (cube == 1)).any(1)]
    cells: Tensor = torch.unique((colour.rgb_to_lab(surface.view(-1, 3, 1, 1))[:, 1:, 0, 0] / STEP).round(), dim=0)
    return STEP * cells


@cache
def candidate_bins() -> Tensor:
    """For each cell of the plane, the K bins that can be among the nearest of a colour in it: int64 (cells, cells, K).

    A colour is at most half a cell's diagonal away from the cell's centre, which excludes all other bins; a lookup
    here replaces most of the distances to all Q bins.
    """
    bins = in_gamut_bins()
    steps = STEP * torch.arange(-REACH, REACH + 1)
    cells = torch.cartesian_prod(steps, steps)
    farthest = torch.cdist(bins, bins).topk(NEIGHBOURS, largest=False).values[:, -1:] + STEP * 2**0.5
    K = int((torch.cdist(bins, bins) <= farthest).sum(1).max())
    near = torch.cdist(cells, bins).topk(K, largest=False).indices
    return near.view(len(steps), len(steps), K)


class Gamut(nn.Module):
    """Q classes of colour. Its buffers move with the module to a device and are not saved."""

    bins: Tensor  # (Q, 2)
    near: Tensor  # int64 (cells, cells, K)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bins", in_gamut_bins(), persistent=False)
        self.register_buffer("near", candidate_bins(), persistent=False)

    def __len__(self) -> int:
        return len(self.bins)

    def closest_bins(self, ab: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """a*, b* (N, 2, h, w) -> squared distances to the k <= 5 nearest bins, and their numbers (N, h, w, k)."""
        colours = ab.float().movedim(1, -1)
        a, b = ((colours / STEP).round().long().clamp(-REACH, REACH) + REACH).unbind(-1)
        near = self.near[a, b]  # (N, h, w, K)
        squares = (self.bins[near] - colours.unsqueeze(-2)).square().sum(-1)
        squares, order = squares.topk(k, largest=False)
        return squares, near.gather(-1, order)

    def nearest_bin(self, ab: Tensor) -> Tensor:
        """a*, b* (N, 2, h, w) -> the number of the nearest bin, int64 (N, h, w)."""
        return self.closest_bins(ab, 1)[1].squeeze(-1)

    def soft_encoding(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """a*, b* (N, 2, h, w) -> the nearest bins, nearest first, and Gaussian weights summing to 1 (N, h, w, 5)."""
        squares, order = self.closest_bins(ab, NEIGHBOURS)
        return order, (-squares / (2 * SIGMA**2)).softmax(-1)

    def decode(self, logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
        """Logits (N, Q, h, w) -> a*, b* (N, 2, h, w): the mean of the sharpened distribution (section 2.3)."""
        return annealed_mean(logits, self.bins, temperature)


def annealed_mean(logits: Tensor, values: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Logits (N, Q, h, w) of classes with values (Q, C) -> the mean value under p^(1/T), normalised (N, C, h, w)."""
    with torch.autocast(logits.device.type, enabled=False):
        shares = (logits.float().movedim(1, -1) / temperature).softmax(-1)
        return (shares @ values).movedim(-1, 1)


def soft_cross_entropy(logits: Tensor, bins: Tensor, weights: Tensor) -> Tensor:
    """Logits (N, Q, h, w) against soft targets, bins and weights (N, h, w, 5) -> nats per pixel (N, h, w)."""
    log_shares = logits.float().movedim(1, -1).log_softmax(-1)
    return -(log_shares.gather(-1, bins) * weights).sum(-1)
