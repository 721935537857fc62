"""Any network of the timm library: ``--encoder timm/<name>``.

The taps conv1 … conv5 are spread evenly over its blocks or stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import timm
import torch
from annotated_types import Ge
from torch import Tensor

from ..errors import UserError, did_you_mean
from . import Encoder


class Timm(Encoder):
    """A network of timm without its classifier; mean and deviation are those of its configuration."""

    def __init__(self, image_size: int, *, name: str = "resnet18", heads: Annotated[int, Ge(0)] = 0) -> None:
        """``heads``: the number of attention heads; 0 keeps the network's own."""
        if name not in timm.list_models() and not timm.list_pretrained(name):
            raise UserError(f"timm has no network {name!r}. {did_you_mean(name, timm.list_models())}")
        options: dict[str, Any] = {"num_heads": heads} if heads else {}
        network: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **options)
        super().__init__(mean=network.default_cfg["mean"], std=network.default_cfg["std"])
        if hasattr(network, "patch_embed") and hasattr(network, "set_input_size"):
            network.set_input_size(img_size=(image_size, image_size))
        if not hasattr(network, "forward_intermediates"):
            raise UserError(f"timm/{name} gives no access to its intermediate layers; choose another network.")
        self.network: Any = network
        with torch.no_grad():
            maps = self.network.eval().forward_intermediates(
                torch.zeros(1, 3, image_size, image_size), intermediates_only=True
            )
        network.train()
        taps = min(5, len(maps))
        self.layers = [round((n + 1) * len(maps) / taps) - 1 for n in range(taps)]
        self.widths = {f"conv{6 - taps + n}": maps[layer].shape[1] for n, layer in enumerate(self.layers)}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """timm's own names; for a vision transformer also those of MMPretrain."""
        yield {}
        yield {"network.": ""}
        if hasattr(self.network, "blocks") and hasattr(self.network, "patch_embed"):
            yield mmpretrain_keys(len(self.network.blocks))

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w), shallow to deep; the whole network runs."""
        prepared = self.prepare_images(images)
        maps = self.network.forward_intermediates(prepared, indices=self.layers, intermediates_only=True)
        yield from zip(self.widths, maps, strict=True)


def mmpretrain_keys(depth: int) -> dict[str, str]:
    """Our prefixes of a vision transformer's parameter names -> those of MMPretrain."""
    names = {"network.": "", "network.patch_embed.proj.": "patch_embed.projection.", "network.norm.": "ln1."}
    parts = {"norm1.": "ln1.", "norm2.": "ln2.", "mlp.fc1.": "ffn.layers.0.0.", "mlp.fc2.": "ffn.layers.1."}
    for block in range(depth):
        ours, theirs = f"network.blocks.{block}.", f"layers.{block}."
        names |= {ours: theirs} | {ours + part: theirs + other for part, other in parts.items()}
    return names
