"""Ablations: each variant is pretrained, and its published number is in the same row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.published import find_references
from sslbench.bench.report.render import write_report
from sslbench.protocols.rotations import Rotations
from tests.records.builders import accuracy_record, changed_record

ANGLES = {(0, 90, 180, 270), (0, 45, 90, 135, 180, 225, 270, 315), (0, 180), (90, 270)}


def test_each_variant_is_pretrained_once() -> None:
    """Four sets of angles are four encoders; the default one is shared with ``linear``."""
    planned = build_plan(Request(methods=("rotnet", "jigsaw"), protocols=("linear", "rotations")))
    rotnet = [job for job in planned.jobs if job.method.name == "rotnet"]
    assert {job.settings["angles"] for job in rotnet} == ANGLES
    assert [[cell.protocol.name for cell in job.cells] for job in rotnet] == [
        ["linear", "rotations"],
        ["rotations"],
        ["rotations"],
        ["rotations"],
    ]
    assert [cell.variant for cell in rotnet[0].cells] == ["", "0,90,180,270"]
    assert len({job.recipe_hash for job in planned.jobs}) == 5
    (other,) = (job for job in planned.jobs if job.method.name == "jigsaw")
    assert [cell.protocol.name for cell in other.cells] == ["linear"]


def test_a_variant_is_a_declared_deviation() -> None:
    """Angles other than the paper's are listed as deviations."""
    jobs = build_plan(Request(methods=("rotnet",), protocols=("rotations",))).jobs
    assert jobs[0].deviations == {}
    assert jobs[2].deviations == {"angles": (0, 180)}


def test_a_method_that_is_not_compared_is_refused() -> None:
    """An ablation without its method raises UserError that names the method."""
    with pytest.raises(UserError, match="compares settings of rotnet"):
        build_plan(Request(methods=("jigsaw",), protocols=("rotations",)))


def test_published_numbers_of_an_ablation_match_any_tap() -> None:
    """The published tap is named where it differs; numbers of ``linear`` match only their own tap."""
    found = find_references("rotations", {"rotnet"}, ["conv4"], "accuracy")
    assert found is not None
    assert {variant: value for (_, variant, _), value in found.values.items()} == {
        "0,90,180,270": 0.8906,
        "0,45,90,135,180,225,270,315": 0.8851,
        "0,180": 0.8746,
        "90,270": 0.8552,
    }
    assert {tap for *_, tap in found.values} == {"conv4"}
    assert "at conv2" in found.setting
    assert find_references("linear", {"rotnet"}, ["conv9"], "accuracy") is None


def rotation_record(variant: str, accuracy: float) -> Record:
    """A record of one set of angles, probed at conv2."""
    return accuracy_record(
        "rotnet",
        0,
        0,
        0,
        kind="pretrained",
        settings={"angles": variant.split(",")},
        cell={"encoder": "nin", "protocol": "rotations", "variant": variant},
        card={"taps": ["conv2"], "head": "mlp"},
        measurements=(
            Measurement(
                tap="conv2",
                metric="accuracy",
                unit="fraction",
                value=accuracy,
                ci_low=accuracy - 0.02,
                ci_high=accuracy + 0.02,
            ),
            Measurement(tap="conv2", metric="macro_accuracy", unit="fraction", value=0.5, ci_low=0.4, ci_high=0.6),
        ),
    )


def test_the_printed_table(tmp_path: Path) -> None:
    """The lecture's table, character by character; the published setting is named below."""
    runs = [rotation_record("90,270", 0.66), rotation_record("0,180", 0.7012), rotation_record("0,90,180,270", 0.75)]
    lost = rotation_record("0,45,90,135,180,225,270,315", 0)
    lost = changed_record(lost, status="failed", error="out of memory", measurements=())
    made = write_report(
        [*runs, lost], folder=tmp_path, methods=["rotnet"], formats=("md", "csv"), protocols={"rotations": Rotations}
    )
    assert made.text == PRINTED
    assert "| 2 | 0°, 180° | *70.12 ± 2.00* | 87.46 |" in " ".join(made.files[0].read_text().split())
    assert pd.read_csv(made.files[1]).query("metric == 'macro_accuracy'")["mean"].dropna().tolist() == [0.5] * 3


def test_ties_with_the_best_are_marked(tmp_path: Path) -> None:
    """Sets of angles with errors on nearly the same images are tied, one far behind is not."""
    truth = np.zeros(400, int)
    for variant, wrong in {
        "0,90,180,270": slice(2, 106),
        "0,180": slice(0, 100),
        "90,270": slice(0, 160),
        "0,45,90,135,180,225,270,315": slice(0, 103),
    }.items():
        predictions = truth.copy()
        predictions[wrong] = 1
        record = rotation_record(variant, float((predictions == truth).mean()))
        store.write(tmp_path, record, Predictions(truth, {"conv2": predictions}))
    made = write_report(
        store.read_all(tmp_path)[0], folder=tmp_path, formats=("md", "tex"), protocols={"rotations": Rotations}
    )
    markdown, latex = (path.read_text() for path in made.files)
    assert MARKED in markdown
    assert r"\textbf{75.00 $\pm$ 2.00}" in latex
    assert r"\underline{$\approx$74.25 $\pm$ 2.00}" in latex


MARKED = """\
| # Rotations   |                                  Rotations |         Accuracy |   Published |
|:--------------|-------------------------------------------:|-----------------:|------------:|
| 4             |                        0°, 90°, 180°, 270° |    ≈74.00 ± 2.00 |       89.06 |
| 8             | 0°, 45°, 90°, 135°, 180°, 225°, 270°, 315° |  *≈74.25 ± 2.00* |       88.51 |
| 2             |                                   0°, 180° | **75.00 ± 2.00** |       87.46 |
| 2             |                                  90°, 270° |     60.00 ± 2.00 |       85.52 |

- bold: best, italic: second best of the methods (supervised and random are not ranked)
- ≈: not significantly worse than the best on the same images (McNemar, Holm; 5 %)
- one seed: ± covers test images only (half the 95 % Wilson interval)
"""

PRINTED = """\
rotations: accuracy (%) on shapes, nin, small

# Rotations                                     Rotations       Accuracy    Published
-------------  ------------------------------------------  -------------  -----------
4                                     0°, 90°, 180°, 270°  *75.00 ± 2.00        89.06
8              0°, 45°, 90°, 135°, 180°, 225°, 270°, 315°         failed        88.51
2                                                0°, 180°   70.12 ± 2.00        87.46
2                                               90°, 270°   66.00 ± 2.00        85.52

* best of the methods (supervised and random are not ranked)
one seed: ± covers test images only (half the 95 % Wilson interval)
rank correlation (Spearman) of measured and published methods: conv2 1.00 (3 rows)
published numbers, never ranked with measured ones: CIFAR-10, NIN, 4 blocks, non-linear classifier
  at conv2
published in RotNet (Gidaris 2018), Table 2, https://arxiv.org/abs/1803.07728, second-hand (CTU
  Prague lecture slides reproducing RotNet Tables 2 and 4)
data shapes, encoder nin, preset small, budget 320,000 views, seed 0
failed: rotnet (0,45,90,135,180,225,270,315), seed 0: out of memory
settings: python run_bench.py report --card CELL

"""
