"""Checks what a protocol yields, before it enters a record that every later report must be able to read.

A protocol may be anyone's plugin. What is wrong is said in one line that names it, and costs only its own cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from ..errors import UserError
from ..evaluation.feature_spec import FeatureSpec
from ..evaluation.representation import Representation
from ..protocol import Protocol
from ..records.measurement import FRACTION, Measurement
from ..records.predictions import ARRAYS, MAX_ARRAY_BYTES, array_violation

RESERVED_TAPS = ("file", "labels", ARRAYS)  # first words with a meaning of their own in the file of predictions


def checked_feature_specs(protocol: Protocol) -> tuple[FeatureSpec, ...]:
    """The features that a protocol needs. Raises UserError if it does not return feature specs."""
    specs: Any = protocol.feature_specs()
    if not isinstance(specs, tuple | list) or not all(isinstance(spec, FeatureSpec) for spec in specs):
        raise mistake(protocol, f"feature_specs() returned {in_words(specs)}, not a tuple of FeatureSpec")
    return tuple(specs)


def checked_measurements(protocol: Protocol, representation: Representation) -> Iterator[Measurement]:
    """Yields the protocol's measurements. Raises UserError at the first that is wrong, or if there is none."""
    seen: set[tuple[str, str]] = set()
    found: Any = protocol.evaluate(representation)
    if isinstance(found, str | bytes) or not hasattr(found, "__iter__"):
        raise mistake(protocol, f"evaluate() returned {in_words(found)}; it must yield Measurement objects")
    for measurement in found:
        if not isinstance(measurement, Measurement):
            raise mistake(protocol, f"yielded {in_words(measurement)}, not a Measurement")
        if words := violation(measurement, len(representation.test_labels), representation.num_classes):
            raise mistake(protocol, words)
        name = (measurement.tap, measurement.metric)
        if name in seen:
            raise mistake(protocol, f"yielded {measurement.metric} at {measurement.tap} twice")
        seen.add(name)
        measurement = as_declared(measurement, protocol, representation)
        if measurement.unit == FRACTION and abs(measurement.value) > 1:
            where = f"{measurement.metric} at {measurement.tap}"
            raise mistake(
                protocol, f"{where}: its value is {measurement.value:g}; fractions are at most 1, not percent"
            )
        yield measurement
    if not seen:
        raise mistake(protocol, "yielded no measurement")


def as_declared(measurement: Measurement, protocol: Protocol, representation: Representation) -> Measurement:
    """The measurement with the unit, direction and chance level of its metric, and plain numbers."""
    metric = protocol.metric_of(measurement.metric)
    if metric is None:
        raise mistake(
            protocol,
            f"yielded the metric {measurement.metric!r}, which its `metrics` do not declare; "
            f"add Metric({measurement.metric!r}) to them",
        )
    low, high = (None if end is None else float(end) for end in (measurement.ci_low, measurement.ci_high))
    return replace(
        measurement,
        value=float(measurement.value),
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        chance=metric.chance_on(representation),
        ci_low=low,
        ci_high=high,
    )


def violation(measurement: Measurement, test_images: int, classes: int) -> str | None:
    """What is wrong with a measurement, in words; None if nothing is."""
    for field in ("tap", "metric"):
        text: Any = getattr(measurement, field)
        if not isinstance(text, str) or not text or not text.isprintable():
            return f"a measurement's {field} is {in_words(text)}, not printable text"
    where = f"{measurement.metric} at {measurement.tap}"
    if measurement.tap.partition(" ")[0] in RESERVED_TAPS:
        return f"{where}: a tap cannot have this name"
    problems = (
        value_violation(measurement),
        interval_violation(measurement.ci_low, measurement.ci_high),
        predictions_violation(measurement.predictions, test_images, classes),
        confidences_violation(measurement.confidences, test_images),
        arrays_violation(measurement.arrays),
        details_violation(measurement.details),
    )
    return next((f"{where}: {words}" for words in problems if words), None)


def value_violation(measurement: Measurement) -> str | None:
    """What is wrong with a measurement's value."""
    value: Any = measurement.value
    if not is_finite_number(value):
        return f"its value is {in_words(value)}, not a finite number; yield nothing where nothing can be measured"
    return None


def interval_violation(low: Any, high: Any) -> str | None:
    """What is wrong with the ends of an interval."""
    if low is None and high is None:
        return None
    if not (is_finite_number(low) and is_finite_number(high)):
        return f"its interval is {in_words(low)} to {in_words(high)}, not two finite numbers"
    return None if low <= high else f"its interval begins at {low:g}, above its end {high:g}"


def predictions_violation(predictions: Any, test_images: int, classes: int) -> str | None:
    """What is wrong with predictions; they are int64 (N,), or None."""
    if predictions is None:
        return None
    if not isinstance(predictions, np.ndarray) or predictions.dtype.kind not in "iu":
        return f"its predictions are {in_words(predictions)}, not a NumPy array of integers"
    if predictions.shape != (test_images,):
        return f"its predictions have the shape {predictions.shape}, not ({test_images},), one per test image"
    if predictions.min() < 0 or predictions.max() >= classes:
        return f"its predictions are {predictions.min()} ... {predictions.max()}, not within 0 ... {classes - 1}"
    return None


def confidences_violation(confidences: Any, test_images: int) -> str | None:
    """What is wrong with confidences; they are float (N,), or None."""
    if confidences is None:
        return None
    if not isinstance(confidences, np.ndarray) or confidences.dtype.kind != "f":
        return f"its confidences are {in_words(confidences)}, not a NumPy array of floats"
    if confidences.shape != (test_images,):
        return f"its confidences have the shape {confidences.shape}, not ({test_images},), one per test image"
    inside = (confidences >= 0) & (confidences <= 1 + 1e-6)  # a sum of rounded shares may exceed 1
    return None if inside.all() else "its confidences are not all within 0 ... 1"


def arrays_violation(arrays: Any) -> str | None:
    """What is wrong with the arrays of a measurement; they are arrays of numbers by name."""
    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in arrays):
        return f"its arrays are {in_words(arrays)}, not a mapping from names of letters and digits to arrays"
    for name, array in arrays.items():
        if words := array_violation(array):
            return f"its array {name} is {words}"
    if (size := sum(array.nbytes for array in arrays.values())) > MAX_ARRAY_BYTES:
        return f"its arrays have {size:,} bytes, more than {MAX_ARRAY_BYTES:,}"
    return None


def details_violation(details: Any) -> str | None:
    """What is wrong with details; they are stored as JSON."""
    if details is None:
        return None
    if not isinstance(details, Mapping) or not all(isinstance(name, str) for name in details):
        return f"its details are {in_words(details)}, not a mapping from names to values"
    try:
        json.dumps(dict(details), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"its details cannot be stored as JSON ({str(error).splitlines()[0]})"
    return None


def is_finite_number(value: Any) -> bool:
    """Whether a value is an ordinary number; true and false are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def in_words(value: Any) -> str:
    """A value, shortened, or the kind of a larger object."""
    if value is None or isinstance(value, str | bytes | bool | Real):
        return repr(value)[:40]
    return f"an object of type {type(value).__name__}"


def mistake(protocol: Protocol, words: str) -> UserError:
    """The error of a protocol that broke its promise."""
    return UserError(f"protocol {type(protocol).__name__.lower()}: {words}.")
