"""The features of protocols that read a grid of each tap."""

from __future__ import annotations

from sslbench import FeatureSpec, Pooling


def grids_of(taps: tuple[str, ...], features: int, pooling: Pooling) -> tuple[FeatureSpec, ...]:
    """Each tap pooled to a grid of at most so many values, or to one vector where the pooling knows no grid."""
    max_dim = features if pooling in ("average", "max") else None
    return tuple(FeatureSpec(tap, max_dim, pooling) for tap in taps)
