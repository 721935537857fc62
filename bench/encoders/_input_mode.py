"""Encoders for the input modes of methods: all colours, lightness alone, or two halves for lightness and chroma."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..images.augment import to_float
from . import Encoder


class HalvesEncoder(Encoder):
    """Two encoders of half the width, for lightness and chroma (split-brain autoencoders, Zhang et al. 2017).

    A tap's features are those of both halves, concatenated along the channels: lightness first.
    """

    def __init__(self, half: Callable[..., Encoder], image_size: int, *, width: int, **settings: Any) -> None:
        super().__init__()
        if width % 2:
            raise UserError(f"width = {width}: it must be even, because each of two halves gets half of it.")
        self.lightness = half(image_size, width=width // 2, **settings)
        self.chroma = half(image_size, width=width // 2, **settings)
        self.lightness.colour_part, self.chroma.colour_part = "lightness", "chroma"
        self.widths = {tap: 2 * width for tap, width in self.lightness.widths.items()}

    def prepare_images(self, images: Tensor) -> Tensor:
        """Converts images to floats in [0, 1]; each half selects its own part of them."""
        return to_float(images)

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and the feature maps of both halves (N, C, h, w), shallow to deep."""
        prepared = self.prepare_images(images)
        halves = zip(self.lightness.iter_features(prepared), self.chroma.iter_features(prepared), strict=True)
        for (tap, lightness), (_, chroma) in halves:
            yield tap, torch.cat([lightness, chroma], dim=1)


def encoder_for_input_mode(
    encoder_class: Callable[..., Encoder], input_mode: str, image_size: int, settings: dict[str, Any]
) -> Encoder:
    """Builds an encoder that sees images in a method's ``input_mode``; "halves" needs a setting ``width``."""
    if input_mode == "halves":
        return HalvesEncoder(encoder_class, image_size, **settings)
    encoder = encoder_class(image_size, **settings)
    encoder.colour_part = "lightness" if input_mode == "lightness" else "colour"
    return encoder
