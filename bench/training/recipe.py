"""The training recipe: the same for every method, so that a table compares methods alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any, Literal

from ..errors import require

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"views": 4_000, "batch_size": 64},
    "small": {"views": 250_000, "batch_size": 128},
    "paper": {"views": 200_000_000, "batch_size": 256, "optimiser": "sgd", "learning_rate": 0.05, "weight_decay": 1e-4},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how an encoder is pretrained."""

    preset: str = "small"
    views: int = 250_000  # the budget: views that the encoder is trained on
    batch_size: int = 128  # images a step; a step's views are this times the method's views an image
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.05  # share of the steps over which the rate rises; then it falls along a cosine
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        require(self.views >= 1, "recipe.views", self.views, "at least 1")
        require(self.batch_size >= 2, "recipe.batch_size", self.batch_size, "at least 2")
        require(0 < self.learning_rate < inf, "recipe.learning_rate", self.learning_rate, "above 0")
        require(0 <= self.weight_decay < inf, "recipe.weight_decay", self.weight_decay, "0 or more")
        require(0 <= self.warmup < 1, "recipe.warmup", self.warmup, "a share from 0 to below 1")

    def varied(self, changes: dict[str, Any]) -> Recipe:
        """A variant's recipe: the same budget, and with another batch a rate that goes with its square root.

        Chen et al. 2020, appendix B.1: so small batches are not undertrained, and large ones not left behind.
        """
        scale = sqrt(changes.get("batch_size", self.batch_size) / self.batch_size)
        return replace(self, **{"learning_rate": self.learning_rate * scale} | changes)
