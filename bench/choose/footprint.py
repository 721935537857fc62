"""What an encoder takes: its parameters, and its memory for one image, counted without computing anything."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..encoders import Encoder


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The size of an encoder in float32."""

    parameters: int
    memory_bytes: int | None  # weights, and the most that a pass of one image holds at a time; None: not countable


def measure_footprint(encoder: Encoder, tap: str, side: int) -> Footprint:
    """The footprint of an encoder on the meta device that reads one image of ``side`` pixels up to a tap.

    The memory is that of all tensors that exist at the same time. What a library uses within one operation, and what
    Python and torch take themselves, is not in it.
    """
    weights = sum(value.nbytes for value in (*encoder.parameters(), *encoder.buffers()))
    parameters = sum(value.numel() for value in encoder.parameters())
    image = torch.zeros(1, 3, side, side, dtype=torch.uint8, device="meta")
    counter = LiveBytes(encoder)
    try:
        with torch.inference_mode(), counter:
            encoder.eval().features(image, [tap])
    except (RuntimeError, NotImplementedError):  # some operation needs values
        return Footprint(parameters=parameters, memory_bytes=None)
    return Footprint(parameters=parameters, memory_bytes=weights + counter.peak)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, until they are released; those of a module not."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known = weakref.WeakSet[Any]()
        for value in (*module.parameters(), *module.buffers()):
            self.known.add(value.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.known:
                self.known.add(storage)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.release, storage.nbytes())
        return result

    def release(self, size: int) -> None:
        """Takes the bytes of a tensor that is gone out of the count."""
        self.now -= size
