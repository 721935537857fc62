"""A network of your own: ``--encoder-from package.module:function``, its taps named by module path.

The function takes no argument and returns a ``torch.nn.Module``; what it normalises itself is not normalised
again with ``--set own.mean=0,0,0 --set own.std=1,1,1``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from torch import nn

from ..errors import UserError, require
from ..images.input_spec import MEAN, STD, InputSpec
from ._tapped import Tapped


class Own(Tapped):
    """Every module whose output can be read as feature maps is a tap under its own path."""

    def __init__(
        self,
        image_size: int,
        *,
        name: str = "torchvision.models:resnet18",
        size: int = 0,  # pixels to which pictures are brought; 0: as they come
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
    ) -> None:
        require(0 <= size <= 1024, "own.size", size, "from 0 to 1024 pixels")
        require(len(mean) == len(std) in (1, 3) and min(std) > 0, "own.std", std, "as many as own.mean, above 0")
        super().__init__(built(name), size or image_size, mean=mean, std=std)
        self.read_at({path: path for path in self.shapes})
        if size:
            self.with_input_spec(InputSpec(size=size, crop=1.0, mean=mean, std=std))


def built(name: str) -> nn.Module:
    """What ``module:function`` returns; raises UserError where it cannot be called or returns no network."""
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        network = getattr(importlib.import_module(module), function)()
    except Exception as error:
        raise UserError(
            f"--encoder-from {name}: fails ({type(error).__name__}: {error}); "
            "name an importable module and a function without arguments."
        ) from None
    if not isinstance(network, nn.Module):
        raise UserError(f"--encoder-from {name}: returns {type(network).__name__}, and no torch.nn.Module.")
    return network
