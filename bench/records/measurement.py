"""One measured value, as a protocol yields it and a record stores it, and how numbers are printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Context, Decimal
from math import isfinite, log10
from typing import Any

import numpy as np

from .typed_json import NOT_STORED

FRACTION = "fraction"
"""The unit of shares from 0 to 1. They are stored as fractions and shown in percent."""

NOTHING = "-"  # printed where there is no number
DIGITS = {FRACTION: 1}  # after the point; 3 for every other unit


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured value with its 95 % confidence interval.

    ``predictions``, ``confidences`` and ``arrays`` are stored next to the record, not in it.
    """

    tap: str
    metric: str  # "accuracy", "macro_accuracy", ...
    value: float  # a protocol yields finite numbers; NaN is null in a file
    unit: str = ""  # "fraction" is shown in percent; any other, such as "px" or "nats", is named next to the metric
    higher_is_better: bool = True
    chance: float | None = None  # what features that say nothing about the question would give, if that is known
    ci_low: float | None = None
    ci_high: float | None = None
    predictions: np.ndarray | None = field(default=None, metadata=NOT_STORED)  # int64 (N,), classes of the test images
    confidences: np.ndarray | None = field(default=None, metadata=NOT_STORED)  # float (N,), 0 to 1, of the predictions
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, metadata=NOT_STORED)  # numbers by name, for reports
    details: Mapping[str, Any] | None = None  # what was chosen on the way, such as k or the strength of a penalty


def format_number(value: float | None, unit: str = FRACTION, *, digits: int | None = None, sign: str = "") -> str:
    """A value as every table, figure and page prints it: fractions in percent, a dash for None and NaN.

    The shortest decimal that stands for the value is rounded, and half-way cases go away from zero: 0.4845 is 48.5 %,
    whatever its binary digits are. ``sign="+"`` also writes a plus.
    """
    if value is None or not isfinite(value):
        return NOTHING
    # Twelve digits leave out the errors of sums, such as those of a mean over seeds.
    number = Decimal(f"{float(value):.12g}") * (100 if unit == FRACTION else 1)
    places = DIGITS.get(unit, 3) if digits is None else digits
    rounded = number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, Context(prec=400))
    return f"{rounded if rounded else abs(rounded):{sign}f}"


def short_number(value: float | None) -> str:
    """A large count with two or three significant digits and a prefix: 36254817189888 is 36 T, 2345678 is 2.3 M."""
    if value is None or not isfinite(value) or value <= 0:
        return NOTHING
    exponent = min(max(0, int(log10(value / 0.95)) // 3 * 3), 18)
    number, prefix = value / 10**exponent, "kMGTPE"[exponent // 3 - 1] if exponent else ""
    return f"{format_number(number, '', digits=0 if number >= 9.95 or not exponent else 1)} {prefix}".strip()


def unit_by_name(metric: str) -> str:
    """The unit of a metric in records that name none; they are older than the field."""
    return FRACTION if "accuracy" in metric else ""
