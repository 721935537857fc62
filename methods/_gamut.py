"""Colours as classes: the bins of the a*b* plane that sRGB can show, the way to them and the way back.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016, sections 2.1 to 2.3.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from sslbench import colour

STEP = 10.0  # between two bins' centres, in units of a* and b*
NEIGHBOURS, SIGMA = 5, 5.0  # of the soft encoding (section 2.2)
TEMPERATURE = 0.38  # of the annealed mean (section 2.3)
RANGE = 110.0  # of a* and b* in sRGB, by which they are divided to be regressed
REACH = 12  # steps from grey that hold every colour of sRGB
LEVELS = 65  # samples along an edge of the sRGB cube


@cache
def in_gamut_bins() -> Tensor:
    """Centres (Q, 2), multiples of ``STEP``, of those cells of the a*b* plane that hold a colour of sRGB.

    The cube's surface is sampled, since no colour inside it is more colourful. The paper has 313
    bins because its list goes on a little beyond what sRGB reaches; a list of the cells hit is shorter.
    """
    levels = torch.linspace(0, 1, LEVELS)
    cube = torch.cartesian_prod(levels, levels, levels)
    surface = cube[((cube == 0) | (cube == 1)).any(1)]
    return STEP * (colour.lab(surface.view(-1, 3, 1, 1))[:, 1:, 0, 0] / STEP).round().unique(dim=0)


@cache
def candidates() -> Tensor:
    """int64 (cells, cells, K): the bins that can be among the nearest ones of a colour in each cell of the plane.

    Within half a cell's diagonal of its centre no other bin can come closer, so few distances decide instead of Q.
    """
    bins = in_gamut_bins()
    steps = STEP * torch.arange(-REACH, REACH + 1)
    cells = torch.cartesian_prod(steps, steps)
    farthest = torch.cdist(bins, bins).topk(NEIGHBOURS, largest=False).values[:, -1:] + STEP * 2**0.5
    K = int((torch.cdist(bins, bins) <= farthest).sum(1).max())
    near = torch.cdist(cells, bins).topk(K, largest=False).indices
    return near.view(len(steps), len(steps), K)


class Gamut(nn.Module):
    """Q classes of colour; the buffers follow the module to its device and are not saved."""

    bins: Tensor  # (Q, 2)
    near: Tensor  # int64 (cells, cells, K)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bins", in_gamut_bins(), persistent=False)
        self.register_buffer("near", candidates(), persistent=False)

    def __len__(self) -> int:
        return len(self.bins)

    def closest(self, ab: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """a*, b* (N, 2, h, w) -> squared distances to the k nearest bins, and which they are (N, h, w, k), k <= 5."""
        colours = ab.float().movedim(1, -1)
        a, b = ((colours / STEP).round().long().clamp(-REACH, REACH) + REACH).unbind(-1)
        near = self.near[a, b]  # (N, h, w, K)
        squares = (self.bins[near] - colours.unsqueeze(-2)).square().sum(-1)
        squares, order = squares.topk(k, largest=False)
        return squares, near.gather(-1, order)

    def nearest(self, ab: Tensor) -> Tensor:
        """a*, b* (N, 2, h, w) -> the nearest bin, int64 (N, h, w)."""
        return self.closest(ab, 1)[1].squeeze(-1)

    def soft(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """a*, b* (N, 2, h, w) -> the nearest bins, nearest first, and Gaussian weights summing to 1 (N, h, w, 5)."""
        squares, order = self.closest(ab, NEIGHBOURS)
        return order, (-squares / (2 * SIGMA**2)).softmax(-1)

    def decoded(self, logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
        """Logits (N, Q, h, w) -> a*, b* (N, 2, h, w): the mean under the sharpened distribution (section 2.3)."""
        return annealed_mean(logits, self.bins, temperature)


def annealed_mean(logits: Tensor, values: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Logits (N, Q, h, w) of the classes' values (Q, C) -> the mean of p^(1/T), normalised anew (N, C, h, w)."""
    with torch.autocast(logits.device.type, enabled=False):
        shares = (logits.float().movedim(1, -1) / temperature).softmax(-1)
        return (shares @ values).movedim(-1, 1)


def cross_entropy(logits: Tensor, bins: Tensor, weights: Tensor) -> Tensor:
    """Logits (N, Q, h, w) against soft targets, bins and weights (N, h, w, 5) -> nats of each pixel (N, h, w)."""
    shares = logits.float().movedim(1, -1).log_softmax(-1)
    return -(shares.gather(-1, bins) * weights).sum(-1)
