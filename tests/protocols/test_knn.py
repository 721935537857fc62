"""kNN with several k and temperatures: each pair gives the same as alone, and a table shows all pairs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.report.render import write_report
from sslbench.protocols.knn import KNN
from tests.protocols.builders import CLASSES, representation_of
from tests.records.builders import accuracy_record


def overlapping_representation(train: int = 60, test: int = 50) -> Representation:
    """Features of overlapping classes, so that k and temperature matter."""
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(n) % CLASSES for n in (train, test)]
    features = [torch.eye(CLASSES)[y] + torch.randn(len(y), CLASSES, generator=generator) for y in labels]
    return representation_of(features[0], labels[0], features[1], labels[1])


def test_each_pair_equals_a_single_call() -> None:
    """Each pair has the value, interval and predictions that it has alone; the first is also the headline."""
    ks, temperatures = (7, 30), (0.07, 5.0)
    several = KNN(taps=("conv5",), k=ks, temperature=temperatures)
    found = {(number.tap, number.metric): number for number in several.evaluate(overlapping_representation())}
    single = {}
    for k in ks:
        for temperature in temperatures:
            alone = KNN(taps=("conv5",), k=(k,), temperature=(temperature,))
            for number in alone.evaluate(overlapping_representation()):
                if (k, temperature) == (7, 0.07):
                    single[number.tap, number.metric] = number
                if number.metric == "accuracy":
                    single[number.tap, f"accuracy_k{k}_T{temperature:g}"] = number
    assert found.keys() == single.keys()
    for key, number in found.items():
        other = single[key]
        assert (number.value, number.ci_low, number.ci_high) == (other.value, other.ci_low, other.ci_high)
        assert np.array_equal(number.predictions, other.predictions)  # type: ignore[arg-type]
        assert number.details == other.details
    answers = {tuple(found["conv5", f"accuracy_k{k}_T{t:g}"].predictions) for k in ks for t in temperatures}  # type: ignore[arg-type]
    assert len(answers) == 4, "the example distinguishes the pairs"


def write_record(folder: Path, method: str, wrong: dict[tuple[int, float], int], **of: Any) -> None:
    """Writes a record with the given number of errors of each pair among 400 images, and ten more at conv5."""
    measurements: list[Measurement] = []
    arrays: dict[str, np.ndarray] = {}
    for tap, more in (("conv4", 0), ("conv5", 10)):
        for place, ((k, temperature), count) in enumerate(wrong.items()):
            predictions = (np.arange(400) < count + more).astype(int)
            value = float(1 - predictions.mean())
            names = ["accuracy"] * (place == 0) + [f"accuracy_k{k}_T{temperature:g}"] * (len(wrong) > 1)
            measurements += [
                Measurement(
                    tap=tap, metric=name, unit="fraction", value=value, ci_low=value - 0.02, ci_high=value + 0.02
                )
                for name in names
            ]
            arrays |= {f"{tap} {name}" if name != "accuracy" else tap: predictions for name in names}
    card = {"taps": ["conv4", "conv5"], "k": len(wrong)}
    of |= {"card": card, "cell": {"protocol": "knn"}, "measurements": tuple(measurements)}
    store.write(folder, accuracy_record(method, 0, 0, 0, **of), Predictions(np.zeros(400, int), arrays))


def report_text(folder: Path) -> str:
    """The text of the report of the records in a folder."""
    return write_report(store.read_all(folder)[0], folder=folder, formats=(), protocols={"knn": KNN}).text


def test_the_table_of_several_pairs(tmp_path: Path) -> None:
    """A row per method, tap and k, and a column per temperature; methods are compared for each pair."""
    pairs = [(20, 0.5), (20, 0.07), (5, 0.5), (5, 0.07)]
    write_record(tmp_path, "random", dict.fromkeys(pairs, 200), kind="untrained")
    write_record(tmp_path, "rotnet", dict(zip(pairs, (100, 80, 60, 40), strict=True)))
    write_record(tmp_path, "moco", dict(zip(pairs, (103, 40, 90, 41), strict=True)))
    assert report_text(tmp_path).startswith(PRINTED)


PRINTED = """\
knn: accuracy (%) on shapes, convnet, small

method            tap    k     T = 0.07      T = 0.5
--------------  -----  ---  -----------  -----------
rotnet          conv4    5  *90.0 ± 2.0  *85.0 ± 2.0
rotnet          conv4   20   80.0 ± 2.0  *75.0 ± 2.0
rotnet          conv5    5  *87.5 ± 2.0  *82.5 ± 2.0
rotnet          conv5   20   77.5 ± 2.0  *72.5 ± 2.0
moco            conv4    5  ≈89.8 ± 2.0   77.5 ± 2.0
moco            conv4   20  *90.0 ± 2.0  ≈74.3 ± 2.0
moco            conv5    5  ≈87.3 ± 2.0   75.0 ± 2.0
moco            conv5   20  *87.5 ± 2.0  ≈71.8 ± 2.0
random (floor)  conv4    5   50.0 ± 2.0   50.0 ± 2.0
random (floor)  conv4   20   50.0 ± 2.0   50.0 ± 2.0
random (floor)  conv5    5   47.5 ± 2.0   47.5 ± 2.0
random (floor)  conv5   20   47.5 ± 2.0   47.5 ± 2.0

* best of the methods (supervised and random are not ranked)
≈: not significantly worse than the best on the same images (McNemar, Holm; 5 %)
one seed: ± covers test images only (half the 95 % Wilson interval)
best and ≈ among methods at the same tap, k and temperature (T)
"""


@pytest.mark.parametrize("temperature", [math.inf, math.nan, 1e-320, 1e308, 0.0])
def test_temperatures_out_of_range_are_refused(temperature: float) -> None:
    """Infinite, tiny and huge temperatures, with which float32 cannot compute, are refused."""
    with pytest.raises(UserError, match=r"knn\.temperature = "):
        KNN(temperature=(0.07, temperature))


def test_a_single_pair_has_the_usual_table(tmp_path: Path) -> None:
    """Methods by taps, without a note on pairs."""
    write_record(tmp_path, "rotnet", {(20, 0.07): 80})
    write_record(tmp_path, "moco", {(20, 0.07): 40})
    records_alone = write_report(store.read_all(tmp_path)[0], folder=tmp_path, formats=()).text
    assert report_text(tmp_path) == records_alone
    assert "temperature" not in records_alone
