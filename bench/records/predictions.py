"""The predicted class of each test image, stored next to a record.

They let two results be compared image by image. This module is the only one that knows how they are stored.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .measurement import Measurement
from .record import Record


@dataclass(frozen=True)
class Predictions:
    """The predictions behind a record's accuracies.

    The first measurement with predictions at a tap has them under the tap's name, every other one under
    "TAP METRIC".
    """

    labels: np.ndarray  # (N,) integers from 0, the true classes of the test images
    by_name: Mapping[str, np.ndarray]  # (N,) each

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
        arrays: dict[str, Any] = dict(self.by_name)
        np.savez_compressed(packed, **arrays, labels=self.labels)
        return packed.getvalue()


def collect_predictions(measurements: Iterable[Measurement], labels: np.ndarray) -> Predictions | None:
    """The predictions of all measurements that have any; None if none has."""
    found: dict[str, np.ndarray] = {}
    for measurement in measurements:
        if measurement.predictions is not None:
            name = f"{measurement.tap} {measurement.metric}" if measurement.tap in found else measurement.tap
            found[name] = measurement.predictions
    return Predictions(labels, found) if found else None


def read_predictions(record: Record) -> Predictions | None:
    """The predictions of a record, None if it has none. Raises UserError if their file is damaged or gone."""
    path = record.path_of(record.predictions)
    if path is None:
        return None
    try:
        arrays = read_arrays(path)
        labels = arrays.pop("labels")
        for name, array in (("labels", labels), *arrays.items()):
            if array.dtype.kind not in "iu" or array.shape != labels.shape or not array.size or array.min() < 0:
                raise ValueError(f"{name} is not one class per test image")
    except Exception as error:  # numpy and zipfile raise a dozen kinds over a damaged file
        raise UserError(
            f"{path}: cannot be read as predictions ({error}). Delete it and its record, and run the cell again."
        ) from None
    return Predictions(labels, arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive by name."""
    with zipfile.ZipFile(path) as packed:
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
