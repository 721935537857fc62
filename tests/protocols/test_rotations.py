"""Ablations: a protocol's variants become encoders of their own, and published numbers stand beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request
from sslbench.bench.records import record as records
from sslbench.bench.report.published import beside
from sslbench.bench.report.render import report
from sslbench.protocols.rotations import Rotations

ANGLES = {(0, 90, 180, 270), (0, 45, 90, 135, 180, 225, 270, 315), (0, 180), (90, 270)}


def test_each_variant_is_pretrained_once() -> None:
    """Four sets of angles are four encoders; the usual one is shared with the plain probe of the same method."""
    planned = build_plan(Request(methods=("rotnet", "jigsaw"), protocols=("linear", "rotations")))
    turned = [job for job in planned.jobs if job.method.name == "rotnet"]
    assert {job.settings["angles"] for job in turned} == ANGLES
    assert [[cell.protocol.name for cell in job.cells] for job in turned] == [
        ["linear", "rotations"],
        ["rotations"],
        ["rotations"],
        ["rotations"],
    ]
    assert [cell.variant for cell in turned[0].cells] == ["", "0,90,180,270"]
    assert len({job.recipe_hash for job in planned.jobs}) == 5
    (other,) = (job for job in planned.jobs if job.method.name == "jigsaw")
    assert [cell.protocol.name for cell in other.cells] == ["linear"]


def test_a_variant_is_a_declared_deviation() -> None:
    """Angles that are not the paper's stand under the table."""
    jobs = build_plan(Request(methods=("rotnet",), protocols=("rotations",))).jobs
    assert jobs[0].deviations == {}
    assert jobs[2].deviations == {"angles": (0, 180)}


def test_a_method_that_is_not_compared_is_refused() -> None:
    """An ablation without its method is one line that names it."""
    with pytest.raises(UserError, match="compares settings of rotnet"):
        build_plan(Request(methods=("jigsaw",), protocols=("rotations",)))


def test_published_numbers_of_an_ablation_stand_beside_any_tap() -> None:
    """The published block is named where ours is another; numbers of a plain probe stay with their tap."""
    found = beside("rotations", {"rotnet"}, ["conv4"], "accuracy")
    assert found is not None
    assert {variant: value for (_, variant, _), value in found.values.items()} == {
        "0,90,180,270": 0.8906,
        "0,45,90,135,180,225,270,315": 0.8851,
        "0,180": 0.8746,
        "90,270": 0.8552,
    }
    assert {tap for *_, tap in found.values} == {"conv4"}
    assert "at conv2" in found.setting
    assert beside("linear", {"rotnet"}, ["conv9"], "accuracy") is None


def measured(variant: str, accuracy: float) -> records.Record:
    """A record of one set of angles, probed at conv2."""
    place = {
        "method": "rotnet",
        "checkpoint": None,
        "encoder": "nin",
        "dataset": "shapes",
        "pretrain_dataset": "shapes",
    }
    record: records.Record = {
        "schema": 1,
        "status": "ok",
        "error": None,
        "cell": place | {"protocol": "rotations", "variant": variant, "seed": 0, "preset": "small"},
        "settings": {"method": {"angles": variant.split(",")}, "encoder": {}, "recipe": {"views": 320_000}},
        "identity": {},
        "deviations": {},
        "card": {"taps": ["conv2"], "head": "mlp"},
        "metrics": [
            {"tap": "conv2", "metric": "accuracy", "value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02},
            {"tap": "conv2", "metric": "macro_accuracy", "value": 0.5, "low": 0.4, "high": 0.6},
        ],
        "source": {"kind": "pretrained", "file": None, "sha256": None},
        "cost": {},
        "pretext": {},
        "provenance": {},
    }
    return record | {"key": records.fingerprint(variant)}


def test_the_printed_table(tmp_path: Path) -> None:
    """The lecture's table character by character, in the lecture's order, the published setting named below."""
    runs = [measured("90,270", 0.66), measured("0,180", 0.7012), measured("0,90,180,270", 0.75)]
    lost = measured("0,45,90,135,180,225,270,315", 0) | {"status": "failed", "error": "out of memory", "metrics": []}
    made = report(
        [*runs, lost], folder=tmp_path, methods=["rotnet"], formats=("md", "csv"), protocols={"rotations": Rotations}
    )
    assert made.text == PRINTED
    assert "| 2 | 0°, 180° | *70.12 ± 2.00* | 87.46 |" in " ".join(made.files[0].read_text().split())
    assert pd.read_csv(made.files[1]).query("metric == 'macro_accuracy'")["mean"].dropna().tolist() == [0.5] * 3


def test_what_may_be_chance_is_marked(tmp_path: Path) -> None:
    """Sets of angles that err on nearly the same images are even, one far behind is not; the legend says how."""
    truth = np.zeros(400, int)
    for variant, wrong in {
        "0,90,180,270": slice(2, 106),
        "0,180": slice(0, 100),
        "90,270": slice(0, 160),
        "0,45,90,135,180,225,270,315": slice(0, 103),
    }.items():
        predictions = truth.copy()
        predictions[wrong] = 1
        record = measured(variant, float((predictions == truth).mean()))
        records.write(tmp_path, record, {"conv2": predictions, "labels": truth})
    made = report(
        records.read_all(tmp_path)[0], folder=tmp_path, formats=("md", "tex"), protocols={"rotations": Rotations}
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

- bold: best, italic: second best of the methods, supervised and random aside
- ≈: not significantly worse than the best on the same images (McNemar, Holm; 5 %)
- ±: half the 95 % interval over test images (bootstrap)
"""

PRINTED = """\
rotations: accuracy (%) on shapes, nin, small

# Rotations                                     Rotations       Accuracy    Published
-------------  ------------------------------------------  -------------  -----------
4                                     0°, 90°, 180°, 270°  *75.00 ± 2.00        89.06
8              0°, 45°, 90°, 135°, 180°, 225°, 270°, 315°         failed        88.51
2                                                0°, 180°   70.12 ± 2.00        87.46
2                                               90°, 270°   66.00 ± 2.00        85.52

* best of the methods, supervised and random aside
±: half the 95 % interval over test images (bootstrap)
rank correlation (Spearman) of measured and published, supervised and random aside: conv2 1.00 (3
  rows)
weights pretrained now: rotnet (0,90,180,270), rotnet (0,180), rotnet (90,270)
protocol card: taps = conv2; head = mlp
data shapes, encoder nin, preset small, budget 320,000 views, seeds 0
published, never ranked with ours: CIFAR-10, NIN, 4 blocks, non-linear classifier at conv2
published in RotNet (Gidaris 2018), Table 2, https://arxiv.org/abs/1803.07728, second-hand (CTU
  Prague lecture slides reproducing RotNet Tables 2 and 4)
failed: rotnet (0,45,90,135,180,225,270,315), seed 0: out of memory

"""
