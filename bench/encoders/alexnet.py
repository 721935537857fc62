"""AlexNet's five convolutions, configurable enough to hold every published variant.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NeurIPS 2012. The widths default to
torchvision's one-tower form; RotNet's and DeepCluster's checkpoints use other
widths, batch norm or two groups.
"""

from __future__ import annotations

from torch import nn

from bench.encoders import Encoder
from bench.errors import require


class AlexNet(Encoder):
    """Max pooling opens conv2 and conv3, so conv1 and conv2 are read before it."""

    def __init__(
        self,
        image_size: int,
        *,
        widths: tuple[int, ...] = (64, 192, 384, 256, 256),
        batch_norm: bool = True,
        lrn: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        require(len(widths) == 5, "alexnet.widths", widths, "five numbers")
        require(groups in (1, 2), "alexnet.groups", groups, "1 or 2")
        require(
            image_size >= 63, "--image-size", image_size, "at least 63 pixels for alexnet; convnet takes smaller ones"
        )
        self.widths = dict(zip(("conv1", "conv2", "conv3", "conv4", "conv5"), widths, strict=True))
        inputs = 3
        for tap, width in self.widths.items():
            size, stride, padding = {"conv1": (11, 4, 2), "conv2": (5, 1, 2)}.get(tap, (3, 1, 1))
            # Krizhevsky's two towers meet only at conv3.
            towers = groups if tap in ("conv2", "conv4", "conv5") else 1
            stage = nn.Sequential()
            if tap in ("conv2", "conv3"):
                stage.append(nn.MaxPool2d(3, 2))
            stage.append(nn.Conv2d(inputs, width, size, stride, padding, groups=towers))
            if batch_norm:
                stage.append(nn.BatchNorm2d(width))
            stage.append(nn.ReLU(inplace=True))
            if lrn and tap in ("conv1", "conv2"):
                stage.append(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
            self.stages[tap] = stage
            inputs = width
