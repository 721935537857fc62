"""AlexNet's five convolutions, with the settings that published checkpoints vary.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NeurIPS 2012. The default widths are those of
torchvision's version without groups. Published checkpoints have other widths, two
groups, or batch norm in some layers only. Local response norm follows the pooling,
as in CaffeNet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Interval
from torch import nn

from ..errors import require
from ..plugins.ranges import Count
from . import Encoder


class AlexNet(Encoder):
    """Max pooling is the first layer of conv2 and conv3, so the taps conv1 and conv2 are before the pooling."""

    def __init__(
        self,
        image_size: int,
        *,
        widths: tuple[Count, ...] = (64, 192, 384, 256, 256),
        batch_norm: Annotated[int, Interval(ge=0, le=5)] = 5,  # number of layers that have it, counted from the deepest
        lrn: bool = False,
        groups: Annotated[int, Interval(ge=1, le=2)] = 1,
        channels: Annotated[int, Interval(ge=1, le=3)] = 3,
        stride: Annotated[int, Interval(ge=1, le=4)] = 4,  # of conv1, like the padding
        padding: Annotated[int, Interval(ge=0, le=5)] = 2,
    ) -> None:
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        require(len(widths) == 5, "alexnet.widths", widths, "five numbers")
        require(
            image_size >= 63,
            "--image-size",
            image_size,
            "at least 63 pixels for alexnet; use convnet for smaller images",
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
        """The nested blocks of RotNet and VISSL, and the flat lists of DeepCluster and torchvision.

        In a flat list ReLU and pooling layers count as places too.
        """
        yield {}
        blocks: dict[str, str] = {}
        flat: dict[str, str] = {}
        place = 0
        for block, tap in zip((0, 2, 4, 5, 6), self.stages, strict=True):
            place += tap in ("conv2", "conv3")  # the pooling
            in_block = 0
            for index, layer in self.stages[tap].named_children():
                if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                    blocks[f"stages.{tap}.{index}."] = f"{block}.{in_block}."
                    flat[f"stages.{tap}.{index}."] = f"{place}."
                    in_block, place = in_block + 1, place + 1
            place += 1  # the ReLU
        yield blocks
        yield flat
