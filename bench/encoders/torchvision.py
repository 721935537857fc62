"""Any classification network of torchvision: ``--encoder torchvision/<name>``.

The taps conv1 … conv5 are spread evenly over its stages: consecutive modules with outputs of one shape.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from torch import nn
from torchvision.models import get_model, list_models

from ..errors import UserError, did_you_mean
from ..images.input_spec import MEAN, STD
from ._hooked import HookedEncoder

HEADS = ("fc", "classifier", "heads", "head", "avgpool", "flatten", "AuxLogits", "aux1", "aux2")


class Torchvision(HookedEncoder):
    """A network of torchvision without its classifier."""

    def __init__(self, image_size: int, *, name: str = "resnet18") -> None:
        known = list_models(module=None, exclude=["*quantized*"])
        if name not in known:
            raise UserError(f"torchvision has no network {name!r}. {did_you_mean(name, known)}")
        sized = {"image_size": image_size} if name.startswith("vit_") else {}
        network: Any = get_model(name, weights=None, **sized)
        for head in HEADS:
            if hasattr(network, head):
                setattr(network, head, nn.Identity())
        super().__init__(network, image_size, mean=MEAN, std=STD, channels_last=name.startswith("swin"))
        stages = self._stage_ends()
        taps = min(5, len(stages))
        chosen = [stages[round((n + 1) * len(stages) / taps) - 1] for n in range(taps)]
        self.set_taps({f"conv{6 - taps + n}": path for n, path in enumerate(chosen)})

    def _stage_ends(self) -> list[str]:
        """Paths of the last module of each stage; of a transformer, each layer is one."""
        paths = dict(self.network.named_modules())
        trunk = next((f"{path}." for path in ("features", "encoder.layers") if path in paths), "")
        modules = [
            path
            for path, shape in self.shapes.items()
            if path.startswith(trunk) and "." not in path.removeprefix(trunk) and path not in HEADS and len(shape) == 4
        ]
        if trunk == "encoder.layers.":
            return modules
        return [list(stage)[-1] for _, stage in groupby(modules, key=lambda path: self.shapes[path])]
