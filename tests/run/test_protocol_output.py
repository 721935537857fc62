"""What a protocol yields is checked: a wrong plugin costs its own cell, in one line that names it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslbench.bench.cli import main
from sslbench.bench.errors import UserError
from sslbench.bench.protocol import Protocol
from sslbench.bench.records import store as records
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.run.protocol_output import checked_feature_specs, checked_measurements
from tests.builders import run_quickly
from tests.protocols.builders import ideal_representation

GOOD = Measurement(
    tap="conv5",
    metric="accuracy",
    value=0.5,
    ci_low=0.4,
    ci_high=0.6,
    predictions=np.zeros(400, int),
    confidences=np.full(400, 0.5),
    details={"k": 3},
)


class Strange(Protocol):
    """A protocol that yields what a test gave it."""

    output: Any = None

    def feature_specs(self) -> Any:
        return self.output

    def evaluate(self, representation: Any) -> Any:
        return self.output


def strange(output: Any) -> Strange:
    """The protocol with this output."""
    protocol = Strange(taps=("conv5",))
    object.__setattr__(protocol, "output", output)
    return protocol


def wrong(**changes: Any) -> Callable[[], list[Measurement]]:
    """A measurement with one field that is wrong."""
    return lambda: [replace(GOOD, **changes)]


OUTPUTS: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (list, "yielded no measurement"),
    "None": (lambda: None, "evaluate() returned None"),
    "a string": (lambda: "accuracy", "evaluate() returned 'accuracy'"),
    "strings": (lambda: ["accuracy"], "yielded 'accuracy', not a Measurement"),
    "a tensor": (lambda: torch.rand(3), "yielded an object of type Tensor"),
    "a number": (lambda: 0.5, "evaluate() returned 0.5"),
    "twice": (lambda: [GOOD, replace(GOOD, value=0.6)], "accuracy at conv5 twice"),
    "NaN": (wrong(value=math.nan), "value is nan"),
    "infinity": (wrong(value=math.inf), "value is inf"),
    "text as value": (wrong(value="0.5"), "value is '0.5'"),
    "a truth as value": (wrong(value=True), "value is True"),
    "a tensor as value": (wrong(value=torch.tensor(0.5)), "value is an object of type Tensor"),
    "percent": (wrong(value=87.5), "fractions are at most 1, not percent"),
    "half an interval": (wrong(ci_low=None), "interval"),
    "an interval of NaN": (wrong(ci_low=math.nan), "interval"),
    "a reversed interval": (wrong(ci_low=0.7), "interval begins at 0.7"),
    "too few predictions": (wrong(predictions=np.zeros(399, int)), "(399,), not (400,)"),
    "scores": (wrong(predictions=np.zeros((400, 4), int)), "(400, 4), not (400,)"),
    "predictions as floats": (wrong(predictions=np.zeros(400)), "not a NumPy array of integers"),
    "predictions as a tensor": (wrong(predictions=torch.zeros(400).long()), "not a NumPy array of integers"),
    "unknown classes": (wrong(predictions=np.full(400, 4)), "4 ... 4, not within 0 ... 3"),
    "negative classes": (wrong(predictions=np.full(400, -1)), "-1 ... -1, not within 0 ... 3"),
    "too few confidences": (wrong(confidences=np.zeros(3)), "confidences have the shape (3,)"),
    "confidences of NaN": (wrong(confidences=np.full(400, np.nan)), "confidences are not all within"),
    "no tap": (wrong(tap=None), "tap is None"),
    "an empty metric": (wrong(metric=""), "metric is ''"),
    "a lone surrogate": (wrong(metric="a\ud800"), "metric is"),
    "a reserved tap": (wrong(tap="labels"), "a tap cannot have this name"),
    "a tap with a reserved first word": (wrong(tap="arrays conv5"), "a tap cannot have this name"),
    "arrays in a list": (wrong(arrays=[np.zeros(2)]), "not a mapping from names"),
    "arrays without letters": (wrong(arrays={"a b": np.zeros(2)}), "not a mapping from names"),
    "a tensor as array": (wrong(arrays={"x": torch.zeros(2)}), "its array x is not a NumPy array"),
    "an array of text": (wrong(arrays={"x": np.array(["a"])}), "its array x is not a NumPy array of numbers"),
    "an array of NaN": (wrong(arrays={"x": np.array([1, math.nan])}), "its array x is not finite"),
    "a large array": (wrong(arrays={"x": np.zeros(2**17 + 1)}), "its array x is larger than 1,048,576 bytes"),
    "large arrays": (wrong(arrays={"x": np.zeros(2**17), "y": np.zeros(1)}), "have 1,048,584 bytes, more than"),
    "details that JSON cannot hold": (wrong(details={"x": torch.rand(2)}), "cannot be stored as JSON"),
    "details of NaN": (wrong(details={"x": math.nan}), "cannot be stored as JSON"),
    "details as text": (wrong(details="k = 3"), "details are 'k = 3'"),
}


@pytest.mark.parametrize(("output", "words"), OUTPUTS.values(), ids=OUTPUTS)
def test_what_is_wrong_is_said_in_one_line(output: Callable[[], Any], words: str) -> None:
    """The line names the plugin and what it did."""
    with pytest.raises(UserError) as error:
        list(checked_measurements(strange(output()), ideal_representation()))
    line = str(error.value)
    assert words in line
    assert line.startswith("protocol strange: ")
    assert line.isprintable()
    assert len(line) < 200


def test_numbers_of_numpy_become_plain_ones() -> None:
    """A record can hold what NumPy computed."""
    number = replace(GOOD, value=np.float32(0.5), ci_low=np.float64(0.4), ci_high=np.int64(1))  # type: ignore[arg-type]
    (found,) = checked_measurements(strange([number]), ideal_representation())
    assert [type(part) for part in (found.value, found.ci_low, found.ci_high)] == [float] * 3
    assert found.predictions is GOOD.predictions


@pytest.mark.parametrize("specs", [None, "conv5", ["conv5"], 3])
def test_features_that_are_none_are_refused(specs: Any) -> None:
    """`feature_specs` must return feature specs."""
    with pytest.raises(UserError, match=r"protocol strange: feature_specs\(\) returned"):
        checked_feature_specs(strange(specs))


PLUGIN = '''
"""A protocol that breaks its promise."""
from dataclasses import dataclass
import numpy as np
import torch
from sslbench import FeatureSpec, Measurement, Protocol

@dataclass(frozen=True, kw_only=True)
class Broken(Protocol):
    """Breaks its promise."""
    def feature_specs(self):
        return tuple(FeatureSpec(tap) for tap in self.taps)
    def evaluate(self, representation):
        one = Measurement(tap="conv5", metric="accuracy", value=0.5)
        {body}
'''


@pytest.mark.parametrize(
    "body",
    [
        "return iter(())",
        "yield 'accuracy'",
        "yield one; yield one",
        "yield one; yield Measurement(tap='conv4', metric='accuracy', value=float('nan'))",
        "yield Measurement(tap='conv5', metric='accuracy', value=0.5, predictions=np.zeros(3, int))",
        "yield Measurement(tap='conv5', metric='accuracy', value=0.5, details={'x': torch.rand(2)})",
        "yield Measurement(tap='conv5', metric='loss', value=torch.rand(2))",
    ],
)
def test_a_wrong_plugin_costs_its_own_cell_alone(
    body: str, tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record says what is wrong; the cell after it is measured, and a report of the folder is written."""
    file = tmp_path / "broken.py"
    file.write_text(PLUGIN.format(body=body))
    words = ["--plugin", str(file), "--methods", "random", "--protocol", "broken,knn", "--set", "knn.k=20"]
    assert run_quickly(results, *words) == 1
    found = {record.cell.protocol: record for record in records.read_all(results / "records")[0]}
    assert {name: record.status for name, record in found.items()} == {"broken": "failed", "knn": "ok"}
    assert str(found["broken"].error).startswith("protocol broken: ")
    capsys.readouterr()
    assert main(["report", "--results", str(results)]) == 0
    assert "knn" in capsys.readouterr().out
