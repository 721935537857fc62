"""Five convolutions with batch norm: small enough to pretrain on two CPU cores.

The shape follows AlexNet's five layers (Krizhevsky et al., 2012) at the
resolution of small pictures.
"""

from __future__ import annotations

from ..errors import require
from . import Encoder, convolution


class ConvNet(Encoder):
    """Widths double while the resolution falls to an eighth."""

    def __init__(self, image_size: int, *, width: int = 32) -> None:
        super().__init__()
        require(width >= 1, "convnet.width", width, "at least 1")
        inputs = 3
        for tap, factor, stride in zip(
            ("conv1", "conv2", "conv3", "conv4", "conv5"), (1, 2, 4, 4, 8), (1, 2, 2, 1, 2), strict=True
        ):
            self.widths[tap] = factor * width
            self.stages[tap] = convolution(inputs, factor * width, stride=stride)
            inputs = factor * width
