"""Which devices compute in bf16, and a decorator for functions that must not."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from .errors import require

P = ParamSpec("P")
Result = TypeVar("Result")


def low_precision(device: torch.device, precision: str = "auto") -> bool:
    """Whether most of the work is done in bf16: as ``precision`` says, or with "auto" if the device supports bf16."""
    require(precision in ("auto", "bf16", "fp32"), "precision", precision, "auto, bf16 or fp32")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    on_cpu = device.type == "cpu"
    return on_cpu and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def without_autocast(function: Callable[Concatenate[Tensor, P], Result]) -> Callable[Concatenate[Tensor, P], Result]:
    """Decorates a function of a tensor so that it runs in the tensors' own precision, even inside autocast.

    Autocast computes matrix products in bf16, which is too coarse for coordinates, colours and losses.
    """

    @wraps(function)
    def decorated(tensor: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        # "meta" tensors hold no values, and torch has no autocast for them.
        device = "cpu" if tensor.device.type == "meta" else tensor.device.type
        with torch.autocast(device, enabled=False):
            return function(tensor, *args, **kwargs)

    return decorated
