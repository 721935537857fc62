"""Five convolutions with batch norm: small enough to pretrain on two CPU cores.

The layout follows AlexNet's five layers (Krizhevsky et al., 2012), with strides
for small images.
"""

from __future__ import annotations

from ..plugins.ranges import Count
from . import Encoder, conv_bn_relu


class ConvNet(Encoder):
    """Five layers whose widths grow from ``width`` to 8 times as much while the resolution falls to an eighth."""

    def __init__(self, image_size: int, *, width: Count = 32) -> None:
        super().__init__()
        inputs = 3
        for tap, factor, stride in zip(
            ("conv1", "conv2", "conv3", "conv4", "conv5"), (1, 2, 4, 4, 8), (1, 2, 2, 1, 2), strict=True
        ):
            self.widths[tap] = factor * width
            self.stages[tap] = conv_bn_relu(inputs, factor * width, stride=stride)
            inputs = factor * width
