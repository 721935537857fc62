"""One measured value, as a protocol yields it and a record keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured value, with its 95 % interval and what is needed to check it image by image."""

    tap: str
    metric: str  # "accuracy", "macro_accuracy", ...
    value: float  # accuracies are fractions
    low: float | None = None
    high: float | None = None
    predictions: np.ndarray | None = None  # int64 (N,), on the test split
    confidences: np.ndarray | None = None  # float (N,) from 0 to 1, of the predictions; to show the surest mistakes
    details: dict[str, Any] | None = None  # what was chosen on the way: a strength, a k
