"""Any classification network of torchvision: ``--encoder torchvision/<name>``.

The taps conv1 … conv5 are spread evenly over its stages: consecutive modules with outputs of one shape. The last tap
is after the network's final norm, if it has one before its pooling.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, list_models

from ..errors import UserError, did_you_mean
from ..images.input_spec import MEAN, STD
from . import normalise_channels
from ._hooked import HookedEncoder

REVISION = 2  # the deepest tap is read after the final norm

HEADS = ("fc", "classifier", "heads", "head", "avgpool", "flatten", "dropout", "AuxLogits", "aux1", "aux2")
FINAL_NORMS = ("encoder.ln", "norm")  # of vision transformers, and of Swin


class Torchvision(HookedEncoder):
    """A network of torchvision without its classifier."""

    def __init__(self, image_size: int, *, name: str = "resnet18") -> None:
        known = list_models(module=None, exclude=["*quantized*"])
        if name not in known:
            raise UserError(f"torchvision has no network {name!r}. {did_you_mean(name, known)}")
        sized = {"image_size": image_size} if name.startswith("vit_") else {}
        network: Any = build_network(name, sized)
        for head in HEADS:
            if isinstance(part := getattr(network, head, None), nn.Module):
                setattr(network, head, up_to_norm(part))
        if name.startswith("densenet"):
            network.features.relu5 = nn.ReLU()  # which the network's forward applies without a module
        super().__init__(network, image_size, mean=MEAN, std=STD, channels_last=name.startswith("swin"))
        stages = self._stage_ends()
        taps = min(5, len(stages))
        chosen = [stages[round((n + 1) * len(stages) / taps) - 1] for n in range(taps)]
        chosen[-1] = next((path for path in FINAL_NORMS if path in self.forms), chosen[-1])
        self.set_taps({f"conv{6 - taps + n}": path for n, path in enumerate(chosen)})

    def norm_after_pooling(self, pooled: Tensor) -> Tensor:
        """Applies the norm that some networks have in their head, after pooling (ConvNeXt, MaxViT)."""
        for norm in getattr(self.network, "classifier", nn.Identity()).children():
            if isinstance(norm, nn.LayerNorm):
                return normalise_channels(pooled, norm)
        return pooled

    def _stage_ends(self) -> list[str]:
        """Paths of the last module of each stage; of a transformer, each layer is one."""
        paths = dict(self.network.named_modules())
        trunk = next((f"{path}." for path in ("features", "encoder.layers", "blocks") if path in paths), "")
        modules = [
            path
            for path in self.forms
            if path.startswith(trunk) and "." not in path.removeprefix(trunk) and path not in HEADS
        ]
        if trunk == "encoder.layers.":
            return modules
        return [list(stage)[-1] for _, stage in groupby(modules, key=lambda path: self.forms[path].shape)]


def build_network(name: str, settings: dict[str, Any]) -> nn.Module:
    """torchvision's network with random weights, on torch's default device."""
    try:
        network: nn.Module = get_model(name, weights=None, **settings)
    except NotImplementedError:  # RegNets compute their widths with tensors, which the meta device cannot
        with torch.device("cpu"):
            network = get_model(name, weights=None, **settings)
        network.to(torch.get_default_device())
    return network


def up_to_norm(head: nn.Module) -> nn.Module:
    """The layers of a head up to its layer norm, which belongs to the features; without one, nothing."""
    layers = list(head.children())
    norms = [place for place, layer in enumerate(layers) if isinstance(layer, nn.LayerNorm)]
    return nn.Sequential(*layers[: norms[0] + 1]) if norms else nn.Identity()
