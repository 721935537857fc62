"""Predictions: how they are stored, and which answers of which metric are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import (
    MAX_ARRAY_BYTES,
    Predictions,
    collect_predictions,
    read_arrays,
    read_predictions,
)
from tests.records.builders import example_record

LABELS = np.array([0, 1, 2, 2])


def measured(tap: str, metric: str, *predictions: int) -> Measurement:
    """A measurement with predictions for four images, and their accuracy as its value."""
    predicted = np.array(predictions)
    return Measurement(tap=tap, metric=metric, value=float((predicted == LABELS).mean()), predictions=predicted)


MEASURED = [
    measured("conv4", "accuracy", 0, 1, 1, 2),
    measured("conv4", "accuracy_k5", 0, 0, 0, 0),
    Measurement(tap="conv4", metric="macro_accuracy", value=0.6),
    measured("conv5", "accuracy", 0, 1, 2, 2),
]


def test_predictions_are_read_as_they_were_collected(tmp_path: Path) -> None:
    """The first of a tap has the tap's name, another one also its metric's."""
    predictions = collect_predictions(MEASURED, LABELS)
    assert predictions
    assert list(predictions.by_name) == ["conv4", "conv4 accuracy_k5", "conv5"]
    store.write(tmp_path, example_record(), predictions)
    (record,), _ = store.read_all(tmp_path)
    found = read_predictions(record)
    assert found
    assert found.by_name.keys() == predictions.by_name.keys()
    assert all((found.by_name[name] == predictions.by_name[name]).all() for name in found.by_name)
    assert (found.labels == LABELS).all()


def test_measurements_without_predictions_have_no_file(tmp_path: Path) -> None:
    """Nothing is collected, nothing is written, and nothing is read."""
    assert collect_predictions(MEASURED[2:3], LABELS) is None
    store.write(tmp_path, example_record())
    assert read_predictions(store.read_all(tmp_path)[0][0]) is None


def test_arrays_of_measurements_are_stored_with_predictions_or_alone(tmp_path: Path) -> None:
    """Two measurements with arrays of their own, which are no predictions."""
    arrays = {"sketch": np.arange(6, dtype=np.float16).reshape(3, 2), "weights": np.array([2.5])}
    first = replace(MEASURED[0], arrays=arrays)
    second = Measurement(tap="conv5", metric="effective_rank", value=2, arrays={"sketch": np.ones((1, 2))})
    for measurements, predicted in (([first, second], {"conv4"}), ([second], set())):
        store.write(tmp_path, example_record(), collect_predictions(measurements, LABELS))
        found = read_predictions(store.read_all(tmp_path)[0][0])
        assert found
        assert set(found.by_name) == predicted
        assert (found.arrays["conv5 effective_rank sketch"] == 1).all()
        assert len(found.arrays) == (3 if predicted else 1)
    assert found.of("conv5", "effective_rank") is None
    assert found.correct(second) is None


def test_each_metric_has_its_own_right_answers() -> None:
    """Those of its own predictions, else of the tap's, unless the value is not their share."""
    predictions = collect_predictions(MEASURED, LABELS)
    assert predictions
    first, second, macro, other = (predictions.correct(measurement) for measurement in MEASURED)
    assert first is not None
    assert first.tolist() == [True, True, False, True]
    assert second is not None
    assert second.tolist() == [True, False, False, False]
    assert macro is None
    assert other is not None
    assert other.all()
    assert predictions.correct(Measurement(tap="conv1", metric="accuracy", value=0.5)) is None
    assert predictions.correct(None) is None


def test_arrays_are_read_as_numpy_would(tmp_path: Path) -> None:
    """Arrays of any numbers and shape, in either order, are read; objects, which could run code, are refused."""
    stored = {
        "conv4": np.arange(6, dtype=np.int16),
        "conv4 accuracy_k5": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "labels": np.array([True, False]),
    }
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, **stored)
    read = read_arrays(path)
    assert read.keys() == stored.keys()
    for name, array in np.load(path).items():
        assert read[name].dtype == array.dtype
        assert (read[name] == array).all()
    np.savez(path, conv4=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="objects"):
        read_arrays(path)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "gone": lambda path: path.unlink(),
    "without labels": lambda path: np.savez(path, conv4=LABELS),
    "without images": lambda path: np.savez(path, conv4=LABELS[:0], labels=LABELS[:0]),
    "of other images": lambda path: np.savez(path, conv4=LABELS[:2], labels=LABELS),
    "of no classes": lambda path: np.savez(path, conv4=LABELS - 1, labels=LABELS),
    "of fractions": lambda path: np.savez(path, conv4=LABELS + 0.5, labels=LABELS),
    "with an array of NaN": lambda path: np.savez(path, **{"labels": LABELS, "arrays a b c": np.array([np.nan])}),
    "with an array of text": lambda path: np.savez(path, **{"labels": LABELS, "arrays a b c": np.array(["a"])}),
    "with a large array": lambda path: np.savez_compressed(
        path, **{"labels": LABELS, "arrays a b c": np.zeros(MAX_ARRAY_BYTES // 8 + 513)}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_predictions_name_their_file(tmp_path: Path, damage: object) -> None:
    """The error says which file it is and what to do."""
    path = store.write(tmp_path, example_record(), Predictions(LABELS, {"conv4": LABELS}))
    damage(path.with_suffix(".npz"))  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"{path.stem}\.npz: .* run the cell again"):
        read_predictions(store.read(path))
