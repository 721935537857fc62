"""Tables: their titles, labels, order, ranks and intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from sslbench.bench.records.comparable import newest_of_each_cell
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.record import Record
from sslbench.bench.report.frame import records_frame
from sslbench.bench.report.plots.cost import pareto_front
from sslbench.bench.report.render import write_report
from sslbench.bench.report.tables import CEILING, FLOOR, build_tables, ci_half_width, row_labels, tap_table
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
    """Two seeds: Student's t with one degree of freedom. One seed: the recorded interval, or none without one."""
    one = records_frame([accuracy_record("rotnet", 0, 0.5, 0.5)]).query("tap == 'conv4'")
    two = records_frame([accuracy_record("rotnet", 0, 0.5, 0.5), accuracy_record("rotnet", 1, 0.6, 0.5)]).query(
        "tap == 'conv4'"
    )
    parts = ["value", "ci_low", "ci_high"]
    assert ci_half_width(*one[parts].to_numpy().T) == pytest.approx(0.02)
    assert ci_half_width(*two[parts].to_numpy().T) == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert math.isnan(ci_half_width(*one[parts].assign(ci_low=math.nan).to_numpy().T))


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


def test_rows_have_the_published_order_with_its_rank_correlation(tmp_path: Path) -> None:
    """Floor and ceiling are first. The correlation needs three methods with measured and published numbers."""
    methods = ["rotnet", "moco", "nat", "jigsaw", "colorization", "tracking"]
    better = [accuracy_record(method, 0, 0.5 + place / 100, 0.9 - place / 100) for place, method in enumerate(methods)]
    text = write_report(
        [*better, accuracy_record(FLOOR, 0, 0.99, 0.01, kind="untrained")], folder=tmp_path, methods=methods
    ).text
    rows = [line.split() for line in text.splitlines() if " ± " in line]
    assert [row[0] for row in rows] == ["random", "tracking", "colorization", "jigsaw", "nat", "rotnet", "moco"]
    assert rows[4][-2:] == ["-", "36.0"]
    # Published at conv4: tracking < colorization < jigsaw < rotnet, measured in the reverse order. At conv5 the ranks
    # are 1 3 2 4 5 and 1 2 3 4 5: rho = 1 - 6 * 2 / (5 * 24).
    assert "without supervised and random: conv4 -1.00 (4 rows), conv5 0.90 (5 rows)" in " ".join(text.split())
    assert "rank correlation" not in write_report(better[:3], folder=tmp_path, formats=()).text


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
