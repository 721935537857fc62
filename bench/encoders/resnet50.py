"""ResNet-50; with a CIFAR stem (3 x 3, stride 1, no pooling) at small sizes.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

from torchvision.models import resnet50

from ._resnet import ResidualEncoder


class ResNet50(ResidualEncoder):
    """torchvision's network without its classifier."""

    def __init__(self, image_size: int, *, channels: int = 3, last_stride: int = 2, stem_padding: int = 1) -> None:
        network = resnet50(weights=None)
        super().__init__(network, image_size, channels=channels, last_stride=last_stride, stem_padding=stem_padding)
