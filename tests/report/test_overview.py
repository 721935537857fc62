"""Overviews: which tables they combine, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sslbench.bench.records.comparable import CEILING, FLOOR
from sslbench.bench.records.record import Record
from sslbench.bench.report.groups import group_comparable
from sslbench.bench.report.overview import build_overviews
from sslbench.bench.report.render import Report, write_report
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record, failed_record


def record_of(protocol: str, *arguments: Any, **changes: Any) -> Record:
    """A record of a protocol."""
    card = {"taps": ["conv4", "conv5"], "question": protocol}
    return accuracy_record(*arguments, card=card, cell={"protocol": protocol}, **changes)


COST = {"jigsaw": 1e12, "rotnet": 4e12, "moco": 2e12}
RECORDS = [
    record_of(
        protocol,
        method,
        0,
        conv4 - less,
        conv5 - less,
        cost={"pretrain_flops": COST.get(method, 0), "pretrain_seconds": 60.0},
    )
    for protocol, less in (("knn", 0.25), ("linear", 0.0))
    for method, conv4, conv5 in (
        ("jigsaw", 0.6, 0.7),
        ("rotnet", 0.75, 0.65),
        ("moco", 0.5, 0.4),
        (FLOOR, 0.3, 0.3),
        (CEILING, 0.9, 0.95),
    )
    if (protocol, method) != ("knn", "moco")
]


@pytest.fixture(scope="module")
def example_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(RECORDS, folder=tmp_path_factory.mktemp("results"), whole=True)


def test_methods_by_protocols(example_report: Report) -> None:
    """Rows are sorted by the last column with most numbers; floor and ceiling are at their places and have no rank."""
    assert PRINTED in example_report.text


def test_all_kinds_of_files_are_written(example_report: Report) -> None:
    """Tables in four formats, bars and cost per protocol, and a heat map; two methods are too few for a rank plot."""
    names = {path.name.partition("-")[0] + path.suffix for path in example_report.files}
    tables = {f"{name}.{ending}" for name in ("knn", "linear", "overview") for ending in ("md", "csv", "tex", "html")}
    figures = {f"{name}.{ending}" for name in ("knn", "linear", "cost", "heatmap") for ending in ("png", "svg")}
    assert names == tables | figures


def test_the_html_table_is_marked_and_escaped(example_report: Report) -> None:
    """The best is strong, the second best underlined, and names are escaped."""
    page = next(
        path for path in example_report.files if path.name.startswith("linear") and path.suffix == ".html"
    ).read_text()
    assert "<strong>75.0 ± 2.0</strong>" in page
    assert "<u>60.0 ± 2.0</u>" in page
    assert "<caption>linear: accuracy (%) on shapes, convnet, small<" in page
    escaped = write_report(
        [accuracy_record("<script>", 0, 0.5, 0.5)],
        folder=example_report.files[0].parents[1] / "evil",
        formats=("html",),
    )
    assert "<script>" not in escaped.files[0].read_text()


def test_other_conditions_make_another_overview() -> None:
    """Titles name what differs, one table makes no overview, and headings name the settings of two cards."""
    long = [record_of(name, "rotnet", 1, 0.5, 0.5, views=640_000) for name in ("knn", "linear")]
    both = build_overviews(build_tables(group_comparable([*RECORDS, *long]), (), {}, {}))
    assert [overview.title.partition("; ")[2] for overview in both] == ["views = 320000", "views = 640000"]
    assert build_overviews(build_tables(group_comparable([accuracy_record("rotnet", 0, 0.5, 0.5)]), (), {}, {})) == []
    cards = [accuracy_record("rotnet", 0, 0.5, 0.5, head=head) for head in ("linear", "mlp")]
    (cells,) = build_overviews(build_tables(group_comparable(cards), (), {}, {}))
    assert [column.heading for column in cells.columns[::2]] == ["linear, head = linear", "linear, head = mlp"]


def test_rows_are_sorted_by_the_fullest_column() -> None:
    """The column with the most numbers orders the rows, best first; a row without a number there comes last."""
    knn = [record_of("knn", method, 0, 0.5, value) for method, value in (("moco", 0.3), ("rotnet", 0.6), ("nat", 0.4))]
    linear = [record_of("linear", method, 0, 0.5, value) for method, value in (("moco", 0.9), ("byol", 0.8))]
    (overview,) = build_overviews(build_tables(group_comparable([*knn, *linear]), (), {}, {}))
    assert (overview.columns[overview.sorted_by].heading, overview.columns[overview.sorted_by].tap) == ("knn", "conv5")
    assert overview.labels == ["rotnet", "nat", "moco", "byol"]
    assert overview.caption == "Sorted by knn at conv5."


def test_one_table_is_an_overview_if_asked_for() -> None:
    """Leaderboards are made of single tables too."""
    tables = build_tables(group_comparable([accuracy_record("rotnet", 0, 0.5, 0.6)]), (), {}, {})
    assert [overview.where for overview in build_overviews(tables, at_least=1)] == ["on shapes, convnet, small"]


def test_a_failed_method_has_no_mean_rank(tmp_path: Path) -> None:
    """A method that failed with one protocol is shown with its other numbers."""
    failure = failed_record("moco", 0, "loss is not finite", card=RECORDS[0].card, cell={"protocol": "knn"})
    (overview,) = build_overviews(build_tables(group_comparable([*RECORDS, failure]), (), {}, {}))
    assert overview.mean_ranks.keys() == {"jigsaw", "rotnet"}
    assert overview.columns[0].cells["moco"].failed


def test_many_columns_fit_a_terminal(tmp_path: Path) -> None:
    """A wide overview is printed in parts; the last one has the mean rank."""
    records = [record_of(f"protocol{n}", method, 0, 0.5, 0.6) for n in range(4) for method in ("jigsaw", "rotnet")]
    text = write_report(records, folder=tmp_path, formats=(), whole=True).text
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("mean rank\n") == 1


PRINTED = """\
methods by protocols on shapes, convnet, small

Sorted by linear at conv5.

method                          knn      knn    linear    linear    mean rank
                              conv4    conv5     conv4     conv5
--------------------------  -------  -------  --------  --------  -----------
── supervised (ceiling) ──     65.0     70.0      90.0      95.0            -
jigsaw                         35.0    *45.0      60.0     *70.0         1.50
rotnet                        *50.0     40.0     *75.0      65.0         1.50
moco                              -        -      50.0      40.0            -
── random (floor) ──            5.0      5.0      30.0      30.0            -

* best of the methods (supervised and random are not ranked)
knn: accuracy (%)
linear: accuracy (%)
mean rank: over the 4 columns, for methods with a number in each; columns share test images, so it
  is a description and not a test
"""
