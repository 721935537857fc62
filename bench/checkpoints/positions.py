"""Position embeddings of another grid of patches, interpolated to the encoder's grid as timm does."""

from __future__ import annotations

import math

from torch import Tensor

MAX_PREFIX_TOKENS = 8  # class, distillation and register tokens before those of the patches
NAMES = ("pos_embed", "pos_embedding")


def prefix_tokens(length: int, wanted: int) -> int | None:
    """How many tokens precede square grids of patches in both lengths; None if there is no such number."""
    for count in range(min(MAX_PREFIX_TOKENS, length, wanted)):
        if all(math.isqrt(one - count) ** 2 == one - count for one in (length, wanted)):
            return count
    return None


def can_resize(name: str, value: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is position embeddings that differ from the wanted shape only in the grid of patches."""
    return (
        name.endswith(NAMES)
        and value.ndim == len(shape) == 3
        and (value.shape[0], value.shape[2]) == (shape[0], shape[2])
        and prefix_tokens(value.shape[1], shape[1]) is not None
    )


def resize_positions(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Position embeddings (1, P, C) interpolated to the wanted shape (1, Q, C), bicubic and antialiased."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    count = prefix_tokens(value.shape[1], shape[1])
    assert count is not None
    side = math.isqrt(shape[1] - count)
    resized: Tensor = resample_abs_pos_embed(value, [side, side], num_prefix_tokens=count)
    return resized
