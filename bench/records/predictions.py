"""The predicted class of each test image, and other arrays of measurements, stored next to a record.

They let two results be compared image by image. This module is the only one that knows how they are stored.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .measurement import Measurement
from .record import Record

ARRAYS = "arrays"  # begins the names of arrays that are not predictions
MAX_ARRAY_BYTES = 2**20  # of the arrays of one measurement together
HEADER_BYTES = 4096  # more than any header of a .npy file has here


@dataclass(frozen=True)
class Predictions:
    """The predictions behind a record's accuracies, and the other arrays of its measurements.

    The first measurement with predictions at a tap has them under the tap's name, every other one under
    "TAP METRIC". Other arrays have the names "TAP METRIC NAME".
    """

    labels: np.ndarray  # (N,) integers from 0, the true classes of the test images
    by_name: Mapping[str, np.ndarray]  # (N,) each
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def of(self, tap: str, metric: str) -> np.ndarray | None:
        """The predictions (N,) behind a metric at a tap."""
        return self.by_name.get(f"{tap} {metric}", self.by_name.get(tap))

    def correct(self, measurement: Measurement | None) -> np.ndarray | None:
        """Which images were right, (N,) booleans; None unless the measured value is their share."""
        predicted = self.of(measurement.tap, measurement.metric) if measurement else None
        if measurement is None or predicted is None:
            return None
        right: np.ndarray = predicted == self.labels
        return right if abs(right.mean() - measurement.value) < 1e-6 else None

    def to_bytes(self) -> bytes:
        """The contents of a compressed NumPy file."""
        packed = BytesIO()
        others = {f"{ARRAYS} {name}": array for name, array in self.arrays.items()}
        stored: dict[str, Any] = {**self.by_name, **others}
        np.savez_compressed(packed, **stored, labels=self.labels)
        return packed.getvalue()


def collect_predictions(measurements: Iterable[Measurement], labels: np.ndarray) -> Predictions | None:
    """The predictions and arrays of all measurements that have any; None if none has."""
    found: dict[str, np.ndarray] = {}
    arrays: dict[str, np.ndarray] = {}
    for measurement in measurements:
        name = f"{measurement.tap} {measurement.metric}"
        if measurement.predictions is not None:
            found[name if measurement.tap in found else measurement.tap] = measurement.predictions
        arrays |= {f"{name} {part}": array for part, array in measurement.arrays.items()}
    return Predictions(labels, found, arrays) if found or arrays else None


def read_predictions(record: Record) -> Predictions | None:
    """The predictions of a record, None if it has none. Raises UserError if their file is damaged or gone."""
    path = record.path_of(record.predictions)
    if path is None:
        return None
    try:
        found = read_arrays(path)
        labels = found.pop("labels")
        arrays = {name: found.pop(name) for name in [*found] if name.startswith(f"{ARRAYS} ")}
        for name, array in (("labels", labels), *found.items()):
            if array.dtype.kind not in "iu" or array.shape != labels.shape or not array.size or array.min() < 0:
                raise ValueError(f"{name} is not one class per test image")
        for name, array in arrays.items():
            if words := array_violation(array):
                raise ValueError(f"{name} is {words}")
    except Exception as error:  # numpy and zipfile raise a dozen kinds over a damaged file
        raise UserError(
            f"{path}: cannot be read as predictions ({error}). Delete it and its record, and run the cell again."
        ) from None
    return Predictions(labels, found, {name.removeprefix(f"{ARRAYS} "): array for name, array in arrays.items()})


def array_violation(array: Any) -> str | None:
    """Why a value cannot be an array of a measurement, in words; None if it can."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        return "not a NumPy array of numbers"
    if not array.size or not np.isfinite(array).all():
        return "not finite numbers only, or empty"
    return f"larger than {MAX_ARRAY_BYTES:,} bytes" if array.nbytes > MAX_ARRAY_BYTES else None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive by name. Raises ValueError where one that is no prediction is too large."""
    with zipfile.ZipFile(path) as packed:
        for entry in packed.infolist():  # before reading: a few compressed bytes may be gigabytes
            if entry.filename.startswith(f"{ARRAYS} ") and entry.file_size > MAX_ARRAY_BYTES + HEADER_BYTES:
                raise ValueError(f"{entry.filename} is larger than {MAX_ARRAY_BYTES:,} bytes")
        return {name.removesuffix(".npy"): _array(packed.read(name)) for name in packed.namelist()}


def _array(content: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file; `numpy.load` takes three times as long over files as small as these."""
    begin = 10 + int.from_bytes(content[8:10], "little")
    shape, column_major, dtype = _header(content[:begin])
    return np.frombuffer(content, dtype, offset=begin).reshape(shape, order="F" if column_major else "C")


@cache
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type at the beginning of a .npy file; raises ValueError if it is not one of version 1.0."""
    file = BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a .npy file of version 1.0")
    shape, column_major, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("holds objects, not numbers")
    return shape, column_major, dtype
