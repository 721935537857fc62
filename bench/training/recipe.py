"""The training recipe.

It is the same for every method, so that a table compares methods and not their training.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import sqrt
from typing import Annotated, Any, Literal

from annotated_types import Ge

from ..plugins.ranges import Count, NonNegative, Positive, ShareBelowOne
from ..plugins.settings import Setting, check_fields

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"views": 4_000, "batch_size": 64},
    "small": {"views": 250_000, "batch_size": 128},
    "paper": {"views": 200_000_000, "batch_size": 256, "optimiser": "sgd", "learning_rate": 0.05, "weight_decay": 1e-4},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and with which optimiser an encoder is pretrained."""

    preset: str = "small"
    views: Count = 250_000  # the budget: how many views the encoder processes
    batch_size: Annotated[int, Ge(2)] = 128  # images per step
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 2e-3
    weight_decay: NonNegative = 0.01
    warmup: ShareBelowOne = 0.05  # share of the steps in which the rate rises; then it falls along a cosine
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        check_fields(self)

    def for_variant(self, changes: dict[str, Any]) -> Recipe:
        """The recipe with a variant's changes; the learning rate is scaled with the square root of the batch size.

        This rule keeps batch sizes comparable over the same budget (Chen et al. 2020, appendix B.1).
        """
        scale = sqrt(changes.get("batch_size", self.batch_size) / self.batch_size)
        return replace(self, **{"learning_rate": self.learning_rate * scale} | changes)


RECIPE_SETTINGS = {
    f.name: Setting(f.name, str(f.type), f.default)
    for f in fields(Recipe)
    if f.name not in ("preset", "seed", "precision")  # these have options of their own
}
