"""Which features of an encoder to extract: a tap, how its maps are pooled, and of how many images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encoders import Encoder, class_token_of
from ..errors import UserError
from ..plugins.ranges import Pooling


@dataclass(frozen=True)
class FeatureSpec:
    """Which features to extract: a tap, and how its feature maps are pooled.

    With ``pooling`` "average" or "max", maps are pooled to the largest square grid that gives at most ``max_dim``
    values, or to one value per channel where ``max_dim`` is None. "mean" is the mean of all positions, "token" is the
    class token, and "token+mean" is both, concatenated, whatever ``max_dim`` is. "map" keeps maps (N, C, h, w),
    averaged to the largest grid of at most ``max_dim`` values; None keeps them as they are. ``images`` limits the
    features to that many images of each split, evenly spaced.
    """

    tap: str
    max_dim: int | None = None
    pooling: Pooling | Literal["map"] = "average"
    images: int | None = None

    @property
    def needs_token(self) -> bool:
        """Whether the encoder must have a class token at this tap."""
        return self.pooling in ("token", "token+mean")

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what it reads, as `Encoder.features` takes them."""
        token = (class_token_of(self.tap),) if self.needs_token else ()
        return token if self.pooling == "token" else (*token, self.tap)

    def indices(self, total: int) -> Tensor:
        """Indices int64 (n,), rising, of the images that it is about in a split of ``total`` images."""
        return evenly_spaced(total, total if self.images is None else self.images)

    def read(self, outputs: Mapping[str, Tensor], encoder: Encoder) -> Tensor:
        """The encoder's outputs, with the names of ``sources`` -> features (N, D), or maps (N, C, h, w)."""
        pooled = [self.pool_maps(outputs[name]) for name in self.sources]
        if self.tap == encoder.taps[-1]:
            pooled = [encoder.norm_after_pooling(maps) for maps in pooled]
        return pooled[0] if self.pooling == "map" else torch.cat([maps.flatten(1) for maps in pooled], dim=1)

    def pool(self, maps: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> features (N, D)."""
        return self.pool_maps(maps).flatten(1)

    def pool_maps(self, maps: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> a grid of pooled values (N, C, s, s)."""
        if self.pooling == "map" and self.max_dim is None:
            return maps
        on_grid = self.max_dim is not None and self.pooling in ("average", "max", "map")
        side = max(1, math.isqrt((self.max_dim or 0) // maps.shape[1])) if on_grid else 1
        if side >= maps.shape[-1]:
            return maps
        pool = F.adaptive_max_pool2d if self.pooling == "max" else F.adaptive_avg_pool2d
        return pool(maps, side)


def check_class_token(spec: FeatureSpec, encoder: Encoder, name: str, protocol: str = "") -> None:
    """Raises UserError where features need a class token that the encoder lacks; the names are for the message."""
    if spec.needs_token and spec.tap not in encoder.token_taps:
        taps = f"--taps {','.join(encoder.token_taps)} or " if encoder.token_taps else ""
        setting = f"{protocol}.pooling" if protocol else "pooling"
        raise UserError(
            f"{setting} = {spec.pooling}: {name} has no class token at {spec.tap}; use {taps}{setting}=mean."
        )


def evenly_spaced(total: int, count: int) -> Tensor:
    """Indices int64 (n,) of at most ``count`` of ``total`` items, evenly spaced.

    In a split that is sorted by class, every class gets its share.
    """
    n = min(total, count)
    return torch.arange(n) * total // n
