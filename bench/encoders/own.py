"""A network from your code: ``--encoder-from package.module:function``, with taps named by module paths.

The function takes no arguments and returns a ``torch.nn.Module``. If the network normalises its input itself,
add ``--set own.mean=0,0,0 --set own.std=1,1,1``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

from annotated_types import Interval
from torch import nn

from ..errors import UserError, require
from ..images.input_spec import MEAN, STD, InputSpec
from ..plugins.ranges import Positive, Share
from ._hooked import HookedEncoder


class Own(HookedEncoder):
    """A tap for every module whose output can be read as feature maps, named by the module's path."""

    def __init__(
        self,
        image_size: int,
        *,
        name: str = "torchvision.models:resnet18",
        size: Annotated[int, Interval(ge=0, le=1024)] = 0,  # pixels after resizing; 0: do not resize
        mean: tuple[Share, ...] = MEAN,  # of values in [0, 1]
        std: tuple[Positive, ...] = STD,
    ) -> None:
        require(len(mean) == len(std) in (1, 3), "own.std", std, "1 or 3 values, as many as own.mean has")
        super().__init__(build_network(name), size or image_size, mean=mean, std=std)
        self.set_taps({path: path for path in self.forms})
        if size:
            self.with_input_spec(InputSpec(size=size, crop=1.0, mean=mean, std=std))


def build_network(name: str) -> nn.Module:
    """Calls ``module:function``. Raises UserError if that fails or does not return a network."""
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
        raise UserError(f"--encoder-from {name}: returns {type(network).__name__}; it must return a torch.nn.Module.")
    return network
