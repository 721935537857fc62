"""No network at all: the image itself is the only tap, ``pixels``.

``--encoder pixels --taps pixels --methods random`` measures how accurate a classifier is
without any features, a baseline below an untrained network.
"""

from __future__ import annotations

from torch import nn

from . import Encoder


class Pixels(Encoder):
    """An encoder whose features are the normalised pixels (N, 3, H, W)."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.stages["pixels"] = nn.Identity()
        self.widths["pixels"] = 3
