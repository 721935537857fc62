"""Network in Network, as RotNet used it on CIFAR-10.

Lin, Chen and Yan, "Network in Network", ICLR 2014; Gidaris et al., ICLR 2018,
section 4.1. A block is a spatial convolution followed by two of 1 x 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Interval
from torch import nn

from . import Encoder, conv_bn_relu


class NIN(Encoder):
    """Three to five blocks, as in RotNet's experiments; tap convN is the output of block N."""

    def __init__(self, image_size: int, *, blocks: Annotated[int, Interval(ge=3, le=5)] = 4) -> None:
        super().__init__()
        inputs = 3
        for block in range(1, blocks + 1):
            widths = (192, 160, 96) if block == 1 else (192, 192, 192)
            stage = nn.Sequential()
            if block == 2:
                stage.append(nn.MaxPool2d(3, 2, 1))
            if block == 3:
                stage.append(nn.AvgPool2d(3, 2, 1))
            for layer, width in enumerate(widths):
                size = 1 if layer else (5 if block <= 2 else 3)
                stage.append(conv_bn_relu(inputs, width, size=size))
                inputs = width
            self.stages[f"conv{block}"] = stage
            self.widths[f"conv{block}"] = inputs

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """The names of RotNet's published code: numbered blocks of named convolutions."""
        yield {}
        names: dict[str, str] = {}
        for block, (tap, stage) in enumerate(self.stages.items()):
            convolutions = [index for index, layer in stage.named_children() if isinstance(layer, nn.Sequential)]
            for number, index in enumerate(convolutions, 1):
                theirs = f"{block}.Block{block + 1}_ConvB{number}.layers"
                names[f"stages.{tap}.{index}.0."] = f"{theirs}.Conv."
                names[f"stages.{tap}.{index}.1."] = f"{theirs}.BatchNorm."
        yield names
