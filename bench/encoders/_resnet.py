"""Residual networks from torchvision, read at the paper's own layer names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from torchvision.models.resnet import ResNet

from ..errors import require
from ..images.input_spec import MEAN, STD
from . import Encoder

CIFAR_STEM_UP_TO = 96  # pixels: below this a stride-4 stem would leave nothing to see


class ResidualEncoder(Encoder):
    """conv1 is the stem, conv2 … conv5 the four groups of blocks (He et al. 2016, table 1)."""

    def __init__(
        self, network: ResNet, image_size: int, *, channels: int, last_stride: int, stem_padding: int = 1
    ) -> None:
        """``stem_padding``: pixels around the picture of the stem for small ones."""
        super().__init__(mean=MEAN, std=STD)
        name = type(self).__name__.lower()
        require(channels in (1, 2, 3), f"{name}.channels", channels, "1, 2 or 3")
        require(last_stride in (1, 2), f"{name}.last_stride", last_stride, "1 or 2")
        require(stem_padding in (1, 2), f"{name}.stem_padding", stem_padding, "1 or 2")
        pooling: nn.Module = network.maxpool
        self.small = image_size <= CIFAR_STEM_UP_TO
        if self.small:
            network.conv1 = nn.Conv2d(channels, 64, 3, padding=stem_padding, bias=False)
            pooling = nn.Identity()
        elif channels != 3:
            network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        if last_stride == 1:
            for layer in network.layer4[0].modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
        self.stages["conv1"] = nn.Sequential(network.conv1, network.bn1, network.relu)
        self.stages["conv2"] = nn.Sequential(pooling, network.layer1)
        self.stages["conv3"], self.stages["conv4"], self.stages["conv5"] = (
            network.layer2,
            network.layer3,
            network.layer4,
        )
        deepest = network.fc.in_features
        self.widths = {"conv1": 64} | {f"conv{n}": deepest // 2 ** (5 - n) for n in (2, 3, 4, 5)}

    def settings_from_extra_keys(self, names: Sequence[str]) -> dict[str, Any]:
        """solo-learn, whose classifier is beside the encoder, pads its stem for CIFAR by 2 (solo/methods/base.py)."""
        return {"stem_padding": 2} if self.small and "classifier.weight" in names else {}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """torchvision's names, and those of its children put into one nn.Sequential."""
        yield {}
        ours = ("conv1.0.", "conv1.1.", "conv2.1.", "conv3.", "conv4.", "conv5.")
        for theirs in (
            ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4."),
            ("0.", "1.", "4.", "5.", "6.", "7."),
        ):
            yield {f"stages.{own}": other for own, other in zip(ours, theirs, strict=True)}
