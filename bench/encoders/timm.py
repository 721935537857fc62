"""Any network of the timm library: ``--encoder timm/<name>``.

Its blocks or stages are spread evenly over the taps conv1 … conv5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor

from bench.encoders import Encoder
from bench.errors import UserError, did_you_mean


class Timm(Encoder):
    """Normalises as the network's own configuration says."""

    def __init__(self, image_size: int, *, name: str = "resnet18") -> None:
        if name not in timm.list_models() and not timm.list_pretrained(name):
            raise UserError(f"timm has no network {name!r}. {did_you_mean(name, timm.list_models())}")
        network: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        super().__init__(mean=network.default_cfg["mean"], std=network.default_cfg["std"])
        if hasattr(network, "patch_embed") and hasattr(network, "set_input_size"):
            network.set_input_size(img_size=(image_size, image_size))
        if not hasattr(network, "forward_intermediates"):
            raise UserError(f"timm/{name} does not show its intermediate layers; choose a network that does.")
        self.network: Any = network
        with torch.no_grad():
            maps = self.network.eval().forward_intermediates(
                torch.zeros(1, 3, image_size, image_size), intermediates_only=True
            )
        network.train()
        taps = min(5, len(maps))
        self.layers = [round((n + 1) * len(maps) / taps) - 1 for n in range(taps)]
        self.widths = {f"conv{6 - taps + n}": maps[layer].shape[1] for n, layer in enumerate(self.layers)}

    def maps(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w); the whole network runs."""
        maps = self.network.forward_intermediates(self.prepared(images), indices=self.layers, intermediates_only=True)
        yield from zip(self.widths, maps, strict=True)
