"""Tables: their titles, labels, order, ranks and intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sslbench.bench.records.comparable import CEILING, FLOOR, newest_of_each_cell
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.record import Record
from sslbench.bench.report.frame import records_frame
from sslbench.bench.report.plots.cost import pareto_front
from sslbench.bench.report.render import write_report
from sslbench.bench.report.row_labels import row_labels
from sslbench.bench.report.rows import ci_half_width, tap_table
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record, changed_record


def test_titles_distinguish_neighbours(tmp_path: Path) -> None:
    """The titles of two tables that differ in one setting name that setting and no other."""
    runs = [accuracy_record("rotnet", 0, 0.5, 0.5, views=views) for views in (1000, 2000)]
    titles = [
        line for line in write_report(runs, folder=tmp_path, formats=()).text.splitlines() if line.startswith("linear")
    ]
    assert titles == [f"linear: accuracy (%) on shapes, convnet, small; views = {views}" for views in (1000, 2000)]


def test_two_settings_of_a_method_are_two_rows(tmp_path: Path) -> None:
    """The labels name the setting that differs, and the accuracies are not averaged."""
    runs = [
        accuracy_record("rotnet", 0, 0.5 + turns / 10, 0.5, settings={"turns": turns, "flip": 0.5}) for turns in (2, 4)
    ]
    text = write_report(runs, folder=tmp_path, formats=()).text
    assert "rotnet, turns = 2   70.0 ± 2.0" in text
    assert "rotnet, turns = 4  *90.0 ± 2.0" in text


def test_a_method_alone_is_not_the_best(tmp_path: Path) -> None:
    """A row is marked only if another method than floor and ceiling is ranked with it."""
    text = write_report(
        [accuracy_record("rotnet", 0, 0.5, 0.5), accuracy_record(CEILING, 0, 0.9, 0.9)], folder=tmp_path, formats=()
    ).text
    assert "*" not in text


def test_intervals_are_over_seeds_if_there_are_several() -> None:
    """Two seeds: Student's t with one degree of freedom. One seed: the recorded interval, or none without one.

    Seeds that agree have the interval over images, and none if there is none.
    """
    one = records_frame([accuracy_record("rotnet", 0, 0.5, 0.5)]).query("tap == 'conv4'")
    two = records_frame([accuracy_record("rotnet", 0, 0.5, 0.5), accuracy_record("rotnet", 1, 0.6, 0.5)]).query(
        "tap == 'conv4'"
    )
    parts = ["value", "ci_low", "ci_high"]
    assert ci_half_width(*one[parts].to_numpy().T) == pytest.approx(0.02)
    assert ci_half_width(*two[parts].to_numpy().T) == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert math.isnan(ci_half_width(*one[parts].assign(ci_low=math.nan).to_numpy().T))
    assert ci_half_width(*pd.concat([one, one])[parts].to_numpy().T) == pytest.approx(0.02)
    assert math.isnan(ci_half_width(*pd.concat([one, one])[parts].assign(ci_low=math.nan).to_numpy().T))


def test_a_missing_tap_is_neither_zero_nor_failed() -> None:
    """A method without results at a tap has no mean and no rank there."""
    short = accuracy_record("jigsaw", 0, 0.6, 0.6)
    short = changed_record(short, measurements=short.measurements[:1])
    table = tap_table(records_frame([accuracy_record("rotnet", 0, 0.5, 0.5), short]), ["conv4", "conv5"], "accuracy")
    assert table["mean"].isna().tolist() == [False, False, False, True]
    assert table["rank"].fillna(0).tolist() == [2, 0, 1, 0]
    assert not table["failed"].any()


def test_the_first_metric_replaces_a_missing_headline(tmp_path: Path) -> None:
    """A metric that is no accuracy is shown as it is, not in percent."""
    psnr = Measurement(tap="conv4", metric="psnr", value=21.5)
    run = accuracy_record("rotnet", 0, 0.5, 0.5, measurements=(psnr,))
    text = write_report([run], folder=tmp_path, formats=()).text
    assert "linear: psnr on shapes" in text
    assert "21.500" in text


def test_rows_are_best_first_at_the_last_tap_with_the_published_rank_correlation(tmp_path: Path) -> None:
    """Floor and ceiling are at their places. The correlation needs three methods with numbers of both kinds."""
    methods = ["rotnet", "moco", "nat", "jigsaw", "colorization", "tracking"]
    better = [accuracy_record(method, 0, 0.5 + place / 100, 0.9 - place / 100) for place, method in enumerate(methods)]
    floor, ceiling = accuracy_record(FLOOR, 0, 0.99, 0.865, kind="untrained"), accuracy_record(CEILING, 0, 0.4, 0.895)
    text = write_report([floor, *reversed(better), ceiling], folder=tmp_path, formats=()).text
    rows = [line.split() for line in text.splitlines() if " ± " in line and "seed" not in line]
    order = [row[1] if row[0] == "──" else row[0] for row in rows]
    assert order == ["rotnet", "supervised", "moco", "nat", "jigsaw", "random", "colorization", "tracking"]
    assert rows[3][-2:] == ["-", "36.0"]
    # Published at conv4: tracking < colorization < jigsaw < rotnet, measured in the reverse order. At conv5 the ranks
    # are 1 3 2 4 5 and 1 2 3 4 5: rho = 1 - 6 * 2 / (5 * 24).
    assert "published methods: conv4 -1.00 (4 rows), conv5 0.90 (5 rows)" in " ".join(text.split())
    assert "rank correlation" not in write_report(better[:3], folder=tmp_path, formats=()).text


def test_a_smoke_run_shows_no_published_numbers(tmp_path: Path) -> None:
    """Its numbers are too far from any paper's; neither are those of floor and ceiling shown without a method's."""
    for cell, shown in (({"preset": "small"}, True), ({"preset": "smoke"}, False)):
        runs = [accuracy_record(method, 0, 0.5, 0.5, cell=cell) for method in ("rotnet", "jigsaw", FLOOR)]
        assert ("published" in write_report(runs, folder=tmp_path, formats=()).text) is shown
    others = [accuracy_record(method, 0, 0.5, 0.5) for method in ("simclr", "byol", FLOOR)]
    assert "published" not in write_report(others, folder=tmp_path, formats=()).text


def test_the_first_record_decides_the_conditions_whatever_the_order_of_rows() -> None:
    """A floor that is better than all methods has no budget: the table's preset is that of a method."""
    floor = accuracy_record(FLOOR, 0, 0.9, 0.9, kind="untrained", cell={"preset": "smoke"})
    (table,) = build_tables([[accuracy_record(m, 0, 0.5, 0.5) for m in ("rotnet", "moco")] + [floor]], (), {}, {})
    assert table.rows["label"].tolist()[:2] == [FLOOR, FLOOR]
    assert table.records[0].cell.preset == "small"


def test_notes_name_what_was_not_measured_and_given_weights() -> None:
    """Floor and ceiling that are missing are named with the remedy; nothing is said of what is cached or bundled."""
    runs = [accuracy_record("rotnet", 0, 0.5, 0.5), accuracy_record("moco", 0, 0.5, 0.5)]
    (table,) = build_tables([runs], (), {}, {})
    assert table.notes[-2:] == [
        "ceiling not measured: add supervised to --methods",
        "floor not measured: add random to --methods",
    ]
    both = [accuracy_record(CEILING, 0, 0.9, 0.9), accuracy_record(FLOOR, 0, 0.1, 0.1, kind="untrained")]
    (whole,) = build_tables([[*runs, *both]], (), {}, {})
    assert not [note for note in whole.notes if "not measured" in note or "weights" in note]
    (of_files,) = build_tables([[given("a" * 64, "runA/last.ckpt"), *runs]], (), {}, {})
    assert "weights from a file: rotnet, last.ckpt (last.ckpt)" in of_files.notes


def test_an_undertrained_row_is_marked() -> None:
    """The label says so, and a note says how many views were too few."""
    short = accuracy_record("instdisc", 0, 0.5, 0.5, pretext={"undertrained": True})
    (table,) = build_tables([[short, accuracy_record("rotnet", 0, 0.5, 0.5)]], (), {}, {})
    assert "instdisc (undertrained)" in table.rows["label"].tolist()
    assert "undertrained: instdisc (undertrained), seed 0: 320,000 views end before its encoder gets a gradient" in (
        table.notes
    )


def test_a_metric_whose_lower_values_are_better() -> None:
    """The lowest error has rank 1 and is on the Pareto front, and the heading says that lower is better."""
    values = {"a": 0.31, "b": 0.21, "c": 0.25}
    rows = [
        replace(
            accuracy_record(method, 0, 0.5, 0.5),
            measurements=(Measurement(tap="conv5", metric="rmse", value=value, higher_is_better=False),),
        )
        for method, value in values.items()
    ]
    (table,) = build_tables([rows], list(values), {"linear": "rmse"}, {})
    assert dict(zip(table.rows["label"], table.rows["rank"], strict=True)) == {"a": 3, "b": 1, "c": 2}
    assert table.heading == "rmse, lower is better"
    assert pareto_front([(1, 0.3), (2, 0.2), (3, 0.25)], higher_is_better=False) == [(1, 0.3), (2, 0.2)]


def given(sha256: str, file: str, **changes: object) -> Record:
    """A record of a method's weights in a file of a user."""
    record = accuracy_record("rotnet", 0, 0.5, 0.5, cell={"checkpoint": "last.ckpt"}, **changes)
    source = replace(record.source, kind="file", file=file, sha256=sha256)
    return replace(record, key=sha256[:16], source=source)


def test_two_files_of_one_name_are_two_rows() -> None:
    """The folder of each file is in its label, or a short hash where the folders are equal or unknown."""
    a, b = given("a" * 64, "runA/last.ckpt"), given("b" * 64, "runB/last.ckpt")
    (table,) = build_tables([[a, b]], (), {}, {})
    assert [label for label, _ in table.rows_by_label] == [
        "rotnet, last.ckpt, from runA",
        "rotnet, last.ckpt, from runB",
    ]
    same = [given("a" * 64, "last.ckpt"), given("b" * 64, "last.ckpt")]
    assert list(row_labels(same).values()) == ["rotnet, last.ckpt, aaaaaaaa", "rotnet, last.ckpt, bbbbbbbb"]
    assert newest_of_each_cell([a, b]) == ([a, b], [])


def test_labels_say_as_much_as_keys() -> None:
    """Two cells that differ in a setting that no label names, or in nothing that is recorded, are two rows."""
    of_settings = [
        changed_record(
            accuracy_record("rotnet", 0, 0.5, 0.5), key=str(bias) * 16, settings={"protocol": {"bias": bias}}
        )
        for bias in (1, 2)
    ]
    assert list(row_labels(of_settings).values()) == ["rotnet, protocol.bias = 1", "rotnet, protocol.bias = 2"]
    of_keys = [replace(of_settings[0], key=key * 16) for key in "cd"]
    assert list(row_labels(of_keys).values()) == ["rotnet, cccccccc", "rotnet, dddddddd"]


def test_the_same_given_weights_are_one_row() -> None:
    """Weights from a file owe nothing to the preset, so their measurement is repeated under another one."""
    one = given("a" * 64, "runA/last.ckpt")
    again = replace(one, key="e" * 16, provenance=replace(one.provenance, created="2026-01-01"))
    (table,) = build_tables([[again, one]], (), {}, {})
    assert [record.key for record in table.records] == ["e" * 16]
    assert [label for label, _ in table.rows_by_label] == ["rotnet, last.ckpt"]
