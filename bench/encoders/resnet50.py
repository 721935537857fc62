"""ResNet-50, with a CIFAR stem (3 x 3, stride 1, no pooling) for small images.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Interval
from torchvision.models import resnet50

from ._resnet import ResidualEncoder


class ResNet50(ResidualEncoder):
    """torchvision's network without its classifier."""

    def __init__(
        self,
        image_size: int,
        *,
        channels: Annotated[int, Interval(ge=1, le=3)] = 3,
        last_stride: Annotated[int, Interval(ge=1, le=2)] = 2,
        stem_padding: Annotated[int, Interval(ge=1, le=2)] = 1,  # pixels, for small images
        stem: Literal["auto", "7x7", "3x3", "3x3+pool"] = "auto",  # first convolution; auto: by the images' size
    ) -> None:
        network = resnet50(weights=None)
        super().__init__(
            network, image_size, channels=channels, last_stride=last_stride, stem_padding=stem_padding, stem=stem
        )
