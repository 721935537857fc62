"""Which rows of a table are marked as tied with the best, on a few hundred images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslbench.bench.records import store
from sslbench.bench.records.predictions import Predictions, read_predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.render import write_report
from sslbench.bench.report.significance import p_value_bound
from sslbench.bench.statistics import holm, mcnemar, randomisation_test
from tests.records.builders import accuracy_record

N = 400
TRUTH = np.zeros(N, int)


def write_record(folder: Path, method: str, seed: int, wrong: slice, **changes: object) -> Record:
    """Write a record with wrong predictions for these images at both taps."""
    predictions = TRUTH.copy()
    predictions[wrong] = 1
    right = float((predictions == TRUTH).mean())
    record = accuracy_record(method, seed, right, right, **changes)
    store.write(folder / "records", record, Predictions(TRUTH, {"conv4": predictions, "conv5": predictions}))
    return record


def ties(folder: Path) -> dict[str, list[bool]]:
    """Label -> whether it is marked as tied with the best, at each tap."""
    (table,) = write_report(store.read_all(folder / "records")[0], folder=folder, formats=()).tables
    return {str(label): rows["tied_with_best"].tolist() for label, rows in table.rows.groupby("label", sort=False)}


def test_only_differences_that_may_be_chance_are_marked(tmp_path: Path) -> None:
    """A method that differs on few images is marked. The best, a much worse method and the floor are not."""
    for method, wrong in (("a", slice(0, 100)), ("b", slice(2, 106)), ("c", slice(0, 160)), ("random", slice(0, 101))):
        write_record(tmp_path, method, 0, wrong)
    assert ties(tmp_path) == {"random": [False] * 2, "a": [False] * 2, "b": [True] * 2, "c": [False] * 2}


def test_holm_corrects_for_the_number_of_comparisons(tmp_path: Path) -> None:
    """A difference that is significant in one comparison is not significant among four."""
    best, rival = TRUTH == 0, np.ones(N, bool)
    rival[:6] = False
    p = mcnemar(best, rival)
    assert p < 0.05 < holm([p] * 4)[0]
    write_record(tmp_path, "a", 0, slice(0, 0))
    write_record(tmp_path, "b", 0, slice(0, 6))
    assert ties(tmp_path)["b"] == [False] * 2
    for at, method in enumerate("cde"):
        write_record(tmp_path, method, 0, slice(10 * at, 10 * at + 6))
    assert ties(tmp_path)["b"] == [True] * 2


def test_seeds_of_both_methods_are_tested_together(tmp_path: Path) -> None:
    """The randomisation test uses the seeds that both methods have."""
    for seed in (0, 1, 2):
        write_record(tmp_path, "a", seed, slice(0, 100))
        if seed < 2:
            write_record(tmp_path, "b", seed, slice(0, 107))
    side = np.ones((2, N), bool)
    side[:, :100] = False
    other = side.copy()
    other[:, 100:107] = False
    assert randomisation_test(side, other) < 0.05
    assert ties(tmp_path) == {"a": [False] * 2, "b": [False] * 2}


def test_predictions_are_read_only_if_they_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies that differ enough are significant whatever the predictions are; only close ones are tested."""
    card = {"taps": ["conv4", "conv5"], "test_images": N}
    for method, wrong in (("a", slice(0, 40)), ("b", slice(0, 41)), ("c", slice(0, 300))):
        write_record(tmp_path, method, 0, wrong, card=card)
    read = []
    monkeypatch.setattr(
        "sslbench.bench.report.significance.read_predictions",
        lambda record: read.append(record.cell.method) or read_predictions(record),
    )
    assert ties(tmp_path) == {"a": [False] * 2, "b": [True] * 2, "c": [False] * 2}
    assert sorted(read) == ["a", "b"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_bound_is_never_below_p(seeds: int) -> None:
    """The p of random predictions is at most the bound that follows from their accuracies."""
    generator = np.random.default_rng(0)
    for _ in range(60):
        a, b = (generator.random((seeds, 80)) < share for share in generator.uniform(0.3, 0.95, 2))
        if a.mean() < b.mean():
            a, b = b, a
        p = mcnemar(a[0], b[0]) if seeds == 1 else randomisation_test(a, b)
        assert p <= p_value_bound(a.mean(), b.mean(), 80)


@pytest.mark.parametrize("damage", ["cut", "gone", "longer"])
def test_unreadable_predictions_are_named(tmp_path: Path, damage: str) -> None:
    """The table is printed and names the method with damaged predictions; other numbers of images are not compared."""
    write_record(tmp_path, "a", 0, slice(0, 100))
    record = write_record(tmp_path, "b", 0, slice(0, 101))
    path = tmp_path / "records" / f"{store.file_stem(record)}.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:60])
    elif damage == "gone":
        path.unlink()
    else:
        longer = np.zeros(N + 1, int)
        store.write(path.parent, record, Predictions(longer, {"conv4": longer, "conv5": longer}))
    made = write_report(store.read_all(tmp_path / "records")[0], folder=tmp_path, formats=())
    assert ("not tested against the best, b: " in made.text.replace("\n  ", " ")) == (damage != "longer")
    assert "≈" not in made.text
    assert "74.8" in made.text
