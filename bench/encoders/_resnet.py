"""A base for torchvision's residual networks, read at the layer names of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from torch import nn
from torchvision.models.resnet import ResNet

from ..images.input_spec import MEAN, STD
from . import Encoder

MAX_CIFAR_STEM_SIZE = 96  # pixels: the paper's stem divides the resolution by 4, too much for smaller images


class ResidualEncoder(Encoder):
    """conv1 is the stem, conv2 … conv5 the four groups of blocks (He et al. 2016, table 1)."""

    later_settings: ClassVar = {"stem": "auto"}

    def __init__(
        self,
        network: ResNet,
        image_size: int,
        *,
        channels: int,
        last_stride: int,
        stem_padding: int = 1,
        stem: str = "auto",
    ) -> None:
        """``stem``: the size of the first convolution, and whether max-pooling follows one of 3 x 3, as after 7 x 7.

        No tensor of a checkpoint shows the pooling. "auto" is 3x3, without pooling, for small images, and 7x7 for
        others. ``stem_padding``: pixels of padding of the 3 x 3 convolution.
        """
        super().__init__(mean=MEAN, std=STD)
        pooling: nn.Module = network.maxpool
        self.small = stem.startswith("3x3") or (stem == "auto" and image_size <= MAX_CIFAR_STEM_SIZE)
        self.assumes_no_pooling = self.small and stem == "auto"
        if self.small:
            network.conv1 = nn.Conv2d(channels, 64, 3, padding=stem_padding, bias=False)
            pooling = network.maxpool if stem == "3x3+pool" else nn.Identity()
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

    @property
    def unseen_in_files(self) -> str:
        """Whether max-pooling follows a first convolution of 3 x 3."""
        name = type(self).__name__.lower()
        advice = f"if yours has one, add @{name} and --set {name}.stem=3x3+pool."
        return f"read without max-pool after the 3 x 3 stem; {advice}" * self.assumes_no_pooling

    def settings_from_extra_keys(self, names: Sequence[str]) -> dict[str, Any]:
        """A key "classifier.weight" means solo-learn, which pads the stem for CIFAR by 2 (solo/methods/base.py)."""
        return {"stem_padding": 2} if self.small and "classifier.weight" in names else {}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """torchvision's names, and the names that result if its children are put into one nn.Sequential."""
        yield {}
        ours = ("conv1.0.", "conv1.1.", "conv2.1.", "conv3.", "conv4.", "conv5.")
        for theirs in (
            ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4."),
            ("0.", "1.", "4.", "5.", "6.", "7."),
        ):
            yield {f"stages.{own}": other for own, other in zip(ours, theirs, strict=True)}
