"""An encoder for a method to be tested on."""

from __future__ import annotations

from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders._halves import with_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.encoders.vit import ViT
from sslbench.bench.plugins.discovery import Plugin


def encoder_for(method: Plugin, *, size: int = 32, width: int = 4) -> Encoder:
    """The default encoder, or a vision transformer where the method wants one, seeing what the method wants it to."""
    input_mode = method.constants.get("input_mode", "colour")
    if input_mode == "patches":
        return with_input_mode(ViT, input_mode, size, {"width": 4 * width})
    return with_input_mode(ConvNet, input_mode, size, {"width": width})
