"""One measured value, as a protocol yields it and a record stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .typed_json import NOT_STORED


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured value with its 95 % confidence interval.

    ``predictions`` and ``confidences`` are stored next to the record, not in it.
    """

    tap: str
    metric: str  # "accuracy", "macro_accuracy", ...
    value: float  # accuracies are fractions; a protocol yields finite numbers, NaN is null in a file
    higher_is_better: bool = True
    ci_low: float | None = None
    ci_high: float | None = None
    predictions: np.ndarray | None = field(default=None, metadata=NOT_STORED)  # int64 (N,), classes of the test images
    confidences: np.ndarray | None = field(default=None, metadata=NOT_STORED)  # float (N,), 0 to 1, of the predictions
    details: Mapping[str, Any] | None = None  # what was chosen on the way, such as k or the strength of a penalty


def is_shown_in_percent(metric: str) -> bool:
    """Whether a metric's values are fractions that a reader sees in percent."""
    return "accuracy" in metric
