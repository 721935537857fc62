"""Residual networks from torchvision, read at the paper's own layer names."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import ResNet

from bench.encoders import Encoder

CIFAR_STEM_UP_TO = 96  # pixels: below this a stride-4 stem would leave nothing to see


class ResidualEncoder(Encoder):
    """conv1 is the stem, conv2 … conv5 the four groups of blocks (He et al. 2016, table 1)."""

    def __init__(self, network: ResNet, image_size: int) -> None:
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        pooling: nn.Module = network.maxpool
        if image_size <= CIFAR_STEM_UP_TO:
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            pooling = nn.Identity()
        self.stages["conv1"] = nn.Sequential(network.conv1, network.bn1, network.relu)
        self.stages["conv2"] = nn.Sequential(pooling, network.layer1)
        self.stages["conv3"], self.stages["conv4"], self.stages["conv5"] = (
            network.layer2,
            network.layer3,
            network.layer4,
        )
        deepest = network.fc.in_features
        self.widths = {"conv1": 64} | {f"conv{n}": deepest // 2 ** (5 - n) for n in (2, 3, 4, 5)}
