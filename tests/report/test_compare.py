"""Comparisons: which cells got worse or better, which cannot be compared, and how the result is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from sslbench.bench.cli import main
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.report.compare import Comparison, compare_folders
from sslbench.bench.storage.hashing import fingerprint
from tests.records.builders import accuracy_record, changed_record, example_record, fraction

LABELS = np.arange(200) % 10


def predictions_with(right: int, tap: int = 0) -> np.ndarray:
    """Predictions (200,) of which the first ``right`` are correct."""
    return np.where(np.arange(200) < right, LABELS, (LABELS + 1 + tap) % 10)


def write_record(
    folder: Path,
    method: str = "rotnet",
    right: tuple[int, ...] = (120, 100),
    *,
    seed: int = 0,
    protocol: str = "linear",
    labels: np.ndarray = LABELS,
    **changes: Any,
) -> Path:
    """Write a record with the given numbers of right predictions among 200 at conv4 and conv5; returns its path."""
    taps = ["conv4", "conv5"][: len(right)]
    made = {"commit": folder.name * 10, "dirty": False, "device": "a processor", "precision": "fp32"}
    record = example_record(
        fingerprint([method, seed, protocol, repr(changes)]),
        cell={"method": method, "seed": seed, "protocol": protocol},
        measurements=tuple(
            fraction(tap=tap, value=n / 200, ci_low=0.0, ci_high=1.0) for tap, n in zip(taps, right, strict=True)
        ),
        provenance=made,
    )
    predictions = {
        tap: predictions_with(n, at)[: len(labels)] for at, (tap, n) in enumerate(zip(taps, right, strict=True))
    }
    return store.write(folder / "records", changed_record(record, **changes), Predictions(labels, predictions))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A baseline of two methods."""
    write_record(tmp_path / "old", "rotnet")
    write_record(tmp_path / "old", "moco", (90, 80))
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The folder of a candidate."""
    return tmp_path / "new"


def verdicts(result: Comparison) -> dict[tuple[str, str], str]:
    """Verdict by method and tap."""
    return {(cell.names[0], cell.tap): cell.verdict for cell in result.cells}


def test_each_cell_is_judged_by_its_interval(old: Path, new: Path) -> None:
    """A cell is worse or better if its whole interval is beyond the tolerance; a small change is the same."""
    write_record(new, "rotnet", (80, 101))
    write_record(new, "moco", (90, 130))
    result = compare_folders(old, new)
    assert verdicts(result) == {
        ("rotnet", "conv4"): "worse",
        ("rotnet", "conv5"): "same",
        ("moco", "conv4"): "same",
        ("moco", "conv5"): "better",
    }
    worst = result.cells[0]
    assert (worst.verdict, worst.difference) == ("worse", pytest.approx(-0.2))
    assert worst.low is not None
    assert worst.low < -0.2 < worst.high  # type: ignore[operator]
    assert result.exit_code == 1
    assert compare_folders(old, new, tolerance=0.3).exit_code == 0
    assert compare_folders(old, new, methods=("moco",)).exit_code == 0


def test_predictions_are_compared_image_by_image(old: Path, new: Path) -> None:
    """Ten images lost and none won is worse, although the intervals of both accuracies overlap."""
    write_record(new, "rotnet", (110, 90))
    write_record(new, "moco", (90, 80))
    result = compare_folders(old, new, tolerance=0.0)
    assert verdicts(result)["rotnet", "conv4"] == "worse"
    record = store.read(next((new / "records").glob("*rotnet*.json")))
    others = np.roll(np.arange(200) < 110, 57)  # as many right, but other images
    np.savez(new / "records" / str(record.predictions), conv4=np.where(others, LABELS, 99), conv5=LABELS, labels=LABELS)
    assert verdicts(compare_folders(old, new, tolerance=0.0))["rotnet", "conv4"] == "same"


def test_seeds_are_pooled_by_image(old: Path, new: Path) -> None:
    """Two seeds are one cell with the means over both and one interval."""
    for folder, right in ((old, (120, 100)), (new, (110, 100))):
        write_record(folder, "rotnet", right, seed=1)
    write_record(new, "rotnet", (90, 100))
    write_record(new, "moco", (90, 80))
    cell = next(c for c in compare_folders(old, new).cells if (c.names[0], c.tap) == ("rotnet", "conv4"))
    assert cell.seeds == (0, 1)
    assert (cell.baseline, cell.candidate) == (pytest.approx(0.6), pytest.approx(0.5))
    assert (cell.verdict, cell.difference) == ("worse", pytest.approx(-0.1))


def test_a_failed_candidate_is_worse(old: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cell that was measured and now fails is worse."""
    write_record(new, "rotnet", status="failed", error="the loss was nan at step 3 of 9", measurements=())
    write_record(new, "moco", (90, 80))
    assert main(["compare", str(old), str(new)]) == 1
    assert "the loss was nan at step 3 of 9" in capsys.readouterr().out


OBSTACLES = {
    "other data": ({"identity": {"dataset": "ff"}}, ["other test data", "aa → ff"]),
    "other pretraining data": ({"identity": {"pretrain_dataset": "ff"}}, ["other pretraining data", "aa → ff"]),
    "another card": (
        {"card": {"taps": ["conv4", "conv5"], "held_out": 0.2}},
        ["other protocol card", "held_out None → 0.2"],
    ),
    "fewer predictions": ({"labels": LABELS[:150]}, ["200 images in the baseline", "150 in the candidate"]),
    "other labels": ({"labels": LABELS[::-1]}, ["other labels"]),
    "another seed": ({"seed": 3}, ["seeds 0 in the baseline, 3 in the candidate"]),
}


@pytest.mark.parametrize(("changes", "parts"), OBSTACLES.values(), ids=OBSTACLES)
def test_a_cell_that_cannot_be_compared_has_the_reason(
    changes: dict[str, Any], parts: list[str], old: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other data, card, images or seeds give exit code 2 and a reason, and no verdict."""
    write_record(new, "rotnet", (10, 10), **changes)
    write_record(new, "moco", (90, 80))
    assert main(["compare", str(old), str(new)]) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "incomparable" in out
    assert "worse " not in out.partition("worse, better")[0]
    for part in parts:
        assert part in out


def test_missing_and_damaged_predictions_are_incomparable(old: Path, new: Path) -> None:
    """A cell is not compared by its mean if one side has no predictions or damaged ones."""
    for method, right in (("rotnet", (120, 100)), ("moco", (90, 80))):
        write_record(new, method, right)
    archive = next((new / "records").glob("*rotnet*.npz"))
    archive.write_bytes(archive.read_bytes()[:40])
    (cell, *_) = (cell for cell in compare_folders(old, new).cells if cell.names[0] == "rotnet")
    assert cell.verdict == "incomparable"
    assert "cannot be read" in cell.why
    path = next((new / "records").glob("*rotnet*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"predictions": None}))
    (cell, *_) = (cell for cell in compare_folders(old, new).cells if cell.names[0] == "rotnet")
    assert (cell.verdict, cell.why) == ("incomparable", "predictions only in the baseline")


def test_metrics_without_predictions_are_compared_with_the_tolerance(old: Path, new: Path) -> None:
    """A metric that is not the share of right predictions has no interval, only a difference."""
    for folder, value in ((old, 0.5), (new, 0.45)):
        rank = Measurement(tap="conv4", metric="rank", value=value)
        names = {"method": "rotnet", "protocol": "spread"}
        store.write(folder / "records", example_record("e" * 16, measurements=(rank,), cell=names))
    cell = next(cell for cell in compare_folders(old, new).cells if cell.metric == "rank")
    assert (cell.verdict, cell.low, cell.high) == ("worse", pytest.approx(-0.05), pytest.approx(-0.05))


def test_records_of_one_cell_are_paired_by_their_settings(old: Path, new: Path) -> None:
    """Two versions of a method are each paired with their equal; a single one with a new setting names the setting."""
    wide = {"settings": {"method": {"turns": 8}}}
    write_record(old, "rotnet", (150, 150), **wide)
    write_record(new, "rotnet", (150, 150), **wide)
    write_record(new, "rotnet")
    write_record(new, "moco", (90, 80), settings={"recipe": {"views": 99}})
    result = compare_folders(old, new)
    assert [cell.verdict for cell in result.cells] == ["same"] * 6
    assert {cell.why for cell in result.cells if cell.names[0] == "moco"} == {"recipe.views 12000 → 99"}
    assert {cell.why for cell in result.cells if cell.names[0] == "rotnet"} == {""}


PRINTED = """\
compare: 1 worse, 2 missing, 1 better, 2 new

         method    protocol    tap    baseline    candidate    difference            why
-------  --------  ----------  -----  ----------  -----------  --------------------  -----------------------------
worse    rotnet    linear      conv4  60.0        40.0         -20.0 [-26.0, -14.5]
missing  moco      linear      conv4  45.0                                           not measured by the candidate
missing  moco      linear      conv5  40.0                                           not measured by the candidate
better   rotnet    linear      conv5  50.0        65.0         +15.0 [+10.0, +20.0]
new      jigsaw    linear      conv4              50.0
new      jigsaw    linear      conv5              50.0

worse, better: the whole 95 % interval of the difference (paired bootstrap over test images) is
  beyond the tolerance of 1 points
baseline: commit oldoldoldold; device a processor; precision fp32
candidate: commit newnewnewnew; device a processor; precision fp32
"""


def test_the_formats_of_a_comparison(old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Terminal, Markdown, JSON and JUnit XML show the same verdicts."""
    write_record(new, "rotnet", (80, 130))
    write_record(new, "jigsaw", (100, 100))
    files = {kind: tmp_path / f"gate.{kind}" for kind in ("json", "markdown", "junit")}
    words = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    assert main(["compare", str(old), str(new), *words]) == 1
    assert capsys.readouterr().out == PRINTED
    markdown = files["markdown"].read_text(encoding="utf-8").splitlines()
    assert markdown[0] == "### compare: 1 worse, 2 missing, 1 better, 2 new"
    assert [word.strip() for word in markdown[4].split("|")[1:5]] == ["worse", "rotnet", "linear", "conv4"]
    content = json.loads(files["json"].read_text(encoding="utf-8"))
    assert content["counts"] == {"worse": 1, "missing": 2, "better": 1, "new": 2}
    assert content["cells"][0] | {"low": 0, "high": 0} == {
        "method": "rotnet",
        "checkpoint": None,
        "encoder": "convnet",
        "dataset": "shapes",
        "protocol": "linear",
        "pretrain_dataset": "shapes",
        "variant": "",
        "preset": "smoke",
        "tap": "conv4",
        "metric": "accuracy",
        "unit": "fraction",
        "verdict": "worse",
        "baseline": 0.6,
        "candidate": 0.4,
        "difference": -0.2,
        "low": 0,
        "high": 0,
        "seeds": [0],
        "why": "",
    }
    suite = ElementTree.parse(files["junit"]).getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "1",
        "errors": "2",
        "skipped": "2",
    }
    assert len(suite.findall("testcase/failure")) == 1
    assert suite.find("testcase").attrib == {"classname": "linear.shapes.convnet.smoke", "name": "rotnet conv4"}  # type: ignore[union-attr]


def test_without_changes_there_is_no_table(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder compared with itself has exit code 0 and no table."""
    assert main(["compare", str(old), str(old / "records")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("compare: 4 same\n\nworse, better")


def test_a_damaged_record_is_named_and_skipped(old: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cell of a record that cannot be read is missing."""
    write_record(new, "rotnet")
    write_record(new, "moco", (90, 80)).write_text("{")
    assert main(["compare", str(old), str(new)]) == 2
    out = capsys.readouterr().out
    assert "skipped: " in out
    assert "2 missing, 2 same" in out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{old}", "{new}"], ["contains no records", "python run_bench.py", "{new}"]),
        (["{old}"], ["CANDIDATE"]),
        (["{old}", "{old}", "--tolerance", "2"], ["--tolerance"]),
        (["{old}", "{old}", "--level", "95"], ["--level"]),
        (["{old}", "{old}", "--methods", "rotnt"], ["rotnt", "Did you mean 'rotnet'?"]),
    ],
)
def test_wrong_arguments_are_errors_of_one_line(
    words: list[str], parts: list[str], old: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No records, no folder and numbers out of range give one line and exit code 2."""
    assert main(["compare", *(word.format(old=old, new=new) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in parts:
        assert part.format(old=old, new=new) in error


def test_failures_on_both_sides_cannot_be_compared(old: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If nothing was measured on either side, that is an error."""
    for folder in (old.parent / "failed", new):
        write_record(folder, status="failed", error="no room", measurements=())
    assert main(["compare", str(old.parent / "failed"), str(new)]) == 2
    assert "no cell was measured" in capsys.readouterr().err


@pytest.mark.parametrize(("after", "verdict"), [(0.31, "worse"), (0.11, "better"), (0.215, "same")])
def test_a_rise_of_an_error_is_worse(tmp_path: Path, after: float, verdict: str) -> None:
    """A metric that declares that lower is better is judged in that direction."""
    for folder, value in (("old", 0.21), ("new", after)):
        found = Measurement(tap="conv5", metric="rmse", value=value, higher_is_better=False)
        record = replace(accuracy_record("rotnet", 0, 0.5, 0.5), measurements=(found,))
        store.write(tmp_path / folder / "records", record)
    result = compare_folders(tmp_path / "old", tmp_path / "new", headlines={"linear": "rmse"})
    assert [cell.verdict for cell in result.cells] == [verdict]
