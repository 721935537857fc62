"""AlexNet's five convolutions, configurable enough to hold every published variant.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NeurIPS 2012. The widths default to
torchvision's one-tower form; published checkpoints use other widths, two groups
or batch norm in some layers only. Local response norm comes after the pooling,
as in CaffeNet.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..errors import require
from . import Encoder


class AlexNet(Encoder):
    """Max pooling opens conv2 and conv3, so conv1 and conv2 are read before it."""

    def __init__(
        self,
        image_size: int,
        *,
        widths: tuple[int, ...] = (64, 192, 384, 256, 256),
        batch_norm: int = 5,  # so many of the deepest layers have it
        lrn: bool = False,
        groups: int = 1,
        channels: int = 3,
        stride: int = 4,  # of conv1, as is the padding
        padding: int = 2,
    ) -> None:
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        require(len(widths) == 5, "alexnet.widths", widths, "five numbers")
        require(groups in (1, 2), "alexnet.groups", groups, "1 or 2")
        require(0 <= batch_norm <= 5, "alexnet.batch_norm", batch_norm, "a number of layers from 0 to 5")
        require(channels in (1, 2, 3), "alexnet.channels", channels, "1, 2 or 3")
        require(1 <= stride <= 4, "alexnet.stride", stride, "from 1 to 4")
        require(0 <= padding <= 5, "alexnet.padding", padding, "from 0 to 5")
        require(
            image_size >= 63, "--image-size", image_size, "at least 63 pixels for alexnet; convnet takes smaller ones"
        )
        self.widths = dict(zip(("conv1", "conv2", "conv3", "conv4", "conv5"), widths, strict=True))
        inputs = channels
        for place, (tap, width) in enumerate(self.widths.items()):
            size, step, pad = {"conv1": (11, stride, padding), "conv2": (5, 1, 2)}.get(tap, (3, 1, 1))
            # Krizhevsky's two towers meet only at conv3.
            towers = groups if tap in ("conv2", "conv4", "conv5") else 1
            stage = nn.Sequential()
            if tap in ("conv2", "conv3"):
                stage.append(nn.MaxPool2d(3, 2))
                if lrn:
                    stage.append(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
            stage.append(nn.Conv2d(inputs, width, size, step, pad, groups=towers))
            if place >= 5 - batch_norm:
                stage.append(nn.BatchNorm2d(width))
            stage.append(nn.ReLU(inplace=True))
            self.stages[tap] = stage
            inputs = width

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """RotNet's and VISSL's blocks; the flat lists of DeepCluster and torchvision, where ReLU and pooling count."""
        yield {}
        blocks: dict[str, str] = {}
        flat: dict[str, str] = {}
        place = 0
        for block, tap in zip((0, 2, 4, 5, 6), self.stages, strict=True):
            place += tap in ("conv2", "conv3")  # the pooling
            learnt = 0
            for at, layer in self.stages[tap].named_children():
                if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                    blocks[f"stages.{tap}.{at}."] = f"{block}.{learnt}."
                    flat[f"stages.{tap}.{at}."] = f"{place}."
                    learnt, place = learnt + 1, place + 1
            place += 1  # the ReLU
        yield blocks
        yield flat
