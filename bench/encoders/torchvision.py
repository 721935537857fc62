"""Any classification network of torchvision: ``--encoder torchvision/<name>``.

Its stages (modules in a row that put out maps of one shape) are spread evenly over the taps conv1 … conv5.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from torch import nn
from torchvision.models import get_model, list_models

from ..errors import UserError, did_you_mean
from ..images.input_spec import MEAN, STD
from ._tapped import Tapped

HEADS = ("fc", "classifier", "heads", "head", "avgpool", "flatten", "AuxLogits", "aux1", "aux2")


class Torchvision(Tapped):
    """Without its classifier."""

    def __init__(self, image_size: int, *, name: str = "resnet18") -> None:
        known = list_models(module=None, exclude=["*quantized*"])
        if name not in known:
            raise UserError(f"torchvision has no network {name!r}. {did_you_mean(name, known)}")
        sized = {"image_size": image_size} if name.startswith("vit_") else {}
        network: Any = get_model(name, weights=None, **sized)
        for head in HEADS:
            if hasattr(network, head):
                setattr(network, head, nn.Identity())
        super().__init__(network, image_size, mean=MEAN, std=STD, rows=name.startswith("swin"))
        stages = self._stages()
        taps = min(5, len(stages))
        chosen = [stages[round((n + 1) * len(stages) / taps) - 1] for n in range(taps)]
        self.read_at({f"conv{6 - taps + n}": path for n, path in enumerate(chosen)})

    def _stages(self) -> list[str]:
        """The last module of every row of trunk modules that put out maps of one shape; each layer of a transformer."""
        paths = dict(self.network.named_modules())
        trunk = next((f"{path}." for path in ("features", "encoder.layers") if path in paths), "")
        own = [
            path
            for path, shape in self.shapes.items()
            if path.startswith(trunk) and "." not in path.removeprefix(trunk) and path not in HEADS and len(shape) == 4
        ]
        if trunk == "encoder.layers.":
            return own
        return [list(row)[-1] for _, row in groupby(own, key=lambda path: self.shapes[path])]
