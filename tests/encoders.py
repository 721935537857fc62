"""An encoder for a method to be tested on."""

from __future__ import annotations

from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders._halves import seeing
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.encoders.vit import ViT
from sslbench.bench.plugins.discovery import Plugin


def encoder_for(method: Plugin, *, size: int = 32, width: int = 4) -> Encoder:
    """The default encoder, or a vision transformer where the method wants one, seeing what the method wants it to."""
    sees = method.constants.get("sees", "colour")
    if sees == "patches":
        return seeing(ViT, sees, size, {"width": 4 * width})
    return seeing(ConvNet, sees, size, {"width": width})
