"""No network at all: the picture itself is the only tap, ``pixels``.

The floor below the floor: ``--encoder pixels --taps pixels --methods random`` says how far a
classifier comes without any features.
"""

from __future__ import annotations

from torch import nn

from . import Encoder


class Pixels(Encoder):
    """Normalised pixels (N, 3, H, W)."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.stages["pixels"] = nn.Identity()
        self.widths["pixels"] = 3
