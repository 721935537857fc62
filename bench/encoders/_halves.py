"""Two encoders of half the width read as one: lightness and chroma (split-brain autoencoders, Zhang et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from . import Encoder


class Halves(Encoder):
    """A tap is the two halves' maps, channel after channel: lightness first."""

    def __init__(self, half: Callable[..., Encoder], image_size: int, *, width: int, **settings: Any) -> None:
        super().__init__()
        if width % 2:
            raise UserError(f"width = {width}: two halves need an even one.")
        self.lightness = half(image_size, width=width // 2, **settings)
        self.chroma = half(image_size, width=width // 2, **settings)
        self.lightness.part, self.chroma.part = "lightness", "chroma"
        self.widths = {tap: 2 * width for tap, width in self.lightness.widths.items()}

    def prepared(self, images: Tensor) -> Tensor:
        """Floats in [0, 1]; each half takes its part of them."""
        return images.float() / 255 if images.dtype == torch.uint8 else images

    def maps(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and both halves' feature maps (N, C, h, w), shallow to deep."""
        whole = self.prepared(images)
        for (tap, lightness), (_, chroma) in zip(self.lightness.maps(whole), self.chroma.maps(whole), strict=True):
            yield tap, torch.cat([lightness, chroma], dim=1)


def with_input_mode(cls: Callable[..., Encoder], input_mode: str, image_size: int, settings: dict[str, Any]) -> Encoder:
    """An encoder of that class that sees what a method's ``sees`` wants it to; halves need a setting ``width``."""
    if input_mode == "halves":
        return Halves(cls, image_size, **settings)
    encoder = cls(image_size, **settings)
    encoder.part = "lightness" if input_mode == "lightness" else "colour"
    return encoder
