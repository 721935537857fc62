"""Network in Network blocks as RotNet used them on CIFAR-10.

Lin, Chen and Yan, "Network in Network", ICLR 2014; Gidaris et al., ICLR 2018,
section 4.1. A block is a spatial convolution followed by two of 1 x 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..errors import require
from . import Encoder, convolution


class NIN(Encoder):
    """Four blocks (three and five were tried in the paper); tap convN is block N."""

    def __init__(self, image_size: int, *, blocks: int = 4) -> None:
        super().__init__()
        require(3 <= blocks <= 5, "nin.blocks", blocks, "3, 4 or 5")
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
                stage.append(convolution(inputs, width, size=size))
                inputs = width
            self.stages[f"conv{block}"] = stage
            self.widths[f"conv{block}"] = inputs

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """RotNet's names: numbered blocks of named convolutions."""
        yield {}
        names: dict[str, str] = {}
        for block, (tap, stage) in enumerate(self.stages.items()):
            layers = [at for at, layer in stage.named_children() if isinstance(layer, nn.Sequential)]
            for number, at in enumerate(layers, 1):
                theirs = f"{block}.Block{block + 1}_ConvB{number}.layers"
                names |= {
                    f"stages.{tap}.{at}.{ours}.": f"{theirs}.{theirs_too}."
                    for ours, theirs_too in (("0", "Conv"), ("1", "BatchNorm"))
                }
        yield names
