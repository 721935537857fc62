"""The page's leaderboard, its tabs and the texts of its figures; in a browser what a reader can do with them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store
from sslbench.bench.records.measurement import format_number
from sslbench.bench.records.record import Record
from sslbench.bench.report.page import render_page
from sslbench.bench.report.page.figures import describe_cost, describe_overview, describe_table
from sslbench.bench.report.page.leaderboard import Board, build_boards, kind_and_year
from sslbench.bench.report.page.tabs import build_tabs, by_setting
from sslbench.bench.report.render import Report, write_report
from tests.records.builders import accuracy_record, failed_record
from tests.report.test_page import attribute, browse, needs_browser, page_data, shown_methods

EVIL = '=cmd("x")'


def record_of(protocol: str, method: str, conv4: float, conv5: float, seed: int = 0, **cell: Any) -> Record:
    """A record of a protocol."""
    card = {"taps": ["conv4", "conv5"], "question": protocol}
    cost = {"pretrain_flops": 2e12 if method != "random" else 0.0}
    return accuracy_record(method, seed, conv4, conv5, card=card, cell={"protocol": protocol, **cell}, cost=cost)


LINEAR = (
    ("rotnet", 0.9, 0.62),
    ("moco", 0.7, 0.8),
    ("clip", 0.8, 0.9),
    ("random", 0.6, 0.45),
    ("supervised", 0.95, 0.99),
    (EVIL, 0.5, 0.4),
)
RECORDS = [
    *(record_of("linear", *row) for row in LINEAR),
    *(record_of("knn", *row) for row in (("rotnet", 0.35, 0.4), ("moco", 0.45, 0.5))),
    failed_record("simclr", 0, "loss is not finite", card={"taps": ["conv4", "conv5"], "question": "linear"}),
    *(record_of("linear", *row, encoder="vit") for row in (("mae", 0.5, 0.7), ("random", 0.3, 0.2))),
    record_of("linear", "mae", 0.5, 0.7, seed=1, encoder="vit"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of records from two encoders, without files."""
    return write_report(RECORDS, folder=tmp_path_factory.mktemp("leaderboard"), formats=(), whole=True)


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_page(report)


def row_named(board: Board, label: str) -> Any:
    """A row of a board."""
    return next(row for row in board.rows if row.label == label)


def test_each_encoder_has_a_board_of_its_own(report: Report) -> None:
    """Rows of two encoders are in two boards; floor and ceiling are at their places, failed rows last."""
    wide, narrow = build_boards(report.tables)
    assert (wide.where, wide.encoder, narrow.encoder) == ("shapes, convnet, small", "convnet", "vit")
    assert [heading.name for heading in wide.headings] == ["knn conv4", "knn conv5", "linear conv4", "linear conv5"]
    assert wide.sorted_by == "linear conv5"
    assert [row.label for row in wide.rows] == ["supervised", "clip", "moco", "rotnet", "random", EVIL, "simclr"]
    assert [row.label for row in narrow.rows] == ["mae", "random"]


def test_a_row_says_what_its_method_is(report: Report) -> None:
    """Kind and year are the plugin's; a method that is not installed has neither; FLOPs are shortened."""
    board = build_boards(report.tables)[0]
    rotnet, clip = row_named(board, "rotnet"), row_named(board, "clip")
    assert (rotnet.kind, rotnet.year, rotnet.learns_from, rotnet.flops_text) == (
        "pretext task",
        "2018",
        "images",
        "2.0 T",
    )
    assert (clip.kind, clip.year, clip.learns_from) == ("cross-modal", "2021", "images and captions")
    assert (row_named(board, EVIL).kind, row_named(board, EVIL).year) == ("unknown", "unknown")
    assert kind_and_year("moco@v2_800ep") == ("contrastive", "2020")
    assert kind_and_year("timm/vit_small") == ("unknown", "unknown")
    assert (row_named(board, "random").role, row_named(board, "random").flops_text) == ("floor", "-")


def test_values_have_marks_and_lead_to_their_record(report: Report) -> None:
    """The best of those that learn from the same is marked; a missing number is a dash, a failed one says so."""
    board = build_boards(report.tables)[0]
    knn4, _, linear4, linear5 = row_named(board, "rotnet").values
    assert (linear4.text, linear4.interval, linear4.raw, linear4.mark) == ("90.0", "2.0", 0.9, "best")
    assert (knn4.mark, linear5.mark) == ("second best", "second best")
    assert linear4.key == RECORDS[0].key
    assert knn4.key == next(r.key for r in RECORDS if (r.cell.method, r.cell.protocol) == ("rotnet", "knn"))
    missing, *_, failed = row_named(board, "simclr").values
    assert (missing.text, missing.key, failed.text, failed.raw) == ("-", "", "failed", None)


def numbers_of_leaderboards(text: str) -> list[str]:
    """The texts of all numbers in the page's leaderboards, with their intervals."""
    found = re.findall(r'<td class="number[^"]*"[^>]*data-value="[\d.e-]+"><a[^>]*>≈?([^<]*)</a>(.*?)</td>', text)
    return [value + re.sub(r"</?small>", "", interval) for value, interval in found]


@pytest.mark.parametrize("folder", ["synthetic", "cifar10-jpeg"])
def test_all_numbers_are_those_of_the_tables(folder: str, tmp_path: Path) -> None:
    """Leaderboard, list of all numbers and details print the committed records' numbers as the tables print them."""
    report = write_report(store.read_all(ROOT / "results" / folder / "records")[0], folder=tmp_path, formats=())
    text = render_page(report)
    printed = []
    for table in report.tables:
        if table.rows["variant"].eq("").any():
            for row in (row for _, taps in table.rows_by_label for row in taps if row.mean == row.mean):
                half = "" if row.ci_half_width != row.ci_half_width else f" ± {table.format_number(row.ci_half_width)}"
                printed.append(table.mean_text(row) + half)
    assert len(printed) > 30
    assert sorted(numbers_of_leaderboards(text)) == sorted(printed)
    of_record = {record.key: record for table in report.tables for record in table.records}
    cells = page_data(text)["cells"]
    assert {cell["key"] for cell in cells} == of_record.keys()
    for cell in cells:
        measured = of_record[cell["key"]].measurements
        assert [row[2] for row in cell["metrics"]] == [format_number(found.value, found.unit) for found in measured]
        texts = {format_number(found.value, found.unit) for found in measured}
        assert {number["text"] for number in cell["headline"]} <= texts
    scripts = re.search(r'<script>\n"use strict"(.*?)</script>', text, re.DOTALL)
    assert scripts
    assert not re.findall(r"toPrecision|toLocaleString|Intl\.", scripts[1])


def test_figures_have_a_sentence_instead_of_a_name(report: Report) -> None:
    """The text of a figure says what is drawn, how many rows, and the best with its number; never floor or ceiling."""
    linear = next(table for table in report.tables if table.protocol == "linear" and "convnet" in table.where)
    assert describe_table(linear) == (
        "Figure of linear: accuracy (%) on shapes, convnet, small: 7 rows at conv4 and conv5. "
        "Best at conv5: clip, 90.0 %."
    )
    assert describe_cost(linear).endswith("against the cost of pretraining: 7 rows. Best at conv5: clip, 90.0 %.")
    (overview,) = report.overviews
    assert describe_overview(overview, "heatmap") == (
        "Heat map of methods by protocols on shapes, convnet, small: 7 rows by 4 columns. Best mean rank: moco, 1.25."
    )
    nothing = write_report(RECORDS[3:5], folder=Path("unused"), formats=()).tables[0]
    assert describe_table(nothing).endswith("No method was measured.")


def test_a_tab_has_published_numbers_in_tables_of_their_own(report: Report) -> None:
    """Measured protocols come first; one that was not measured shows what papers say, and a command."""
    tabs = {tab.protocol: tab for tab in build_tabs(report.tables, ())}
    first, second, *others = tabs
    assert (first, second) == ("linear", "knn")
    assert {first, *others} == {path.stem for path in (ROOT / "results" / "published").glob("*.csv")}
    assert len(tabs["linear"].tables) == 2
    assert tabs["rotations"].tables == []
    assert tabs["rotations"].command.endswith("--methods rotnet --protocol rotations")
    (rotations,) = tabs["rotations"].published
    assert rotations.setting == "CIFAR-10, NIN, 4 blocks, non-linear classifier"
    assert rotations.columns == ["conv2"]
    assert rotations.rows[0] == ("4 rotations: 0, 90, 180, 270", ["89.1"])
    assert {address for _, address in rotations.sources} == {"https://arxiv.org/abs/1803.07728"}


def test_what_was_varied_becomes_columns() -> None:
    """Labels with several numbers for one tap get a column per setting; a number that is missing is a dash."""
    common = {"dataset": "D", "encoder": "E", "protocol": "P", "tap": "conv2", "metric": "accuracy", "source": "S"}
    common |= {"reference": "https://example.org", "second_hand": ""}
    rows = [("a", "n_1=1", 0.5), ("a", "n_1=2", 0.625), ("b", "n_1=1", 0.25)]
    (table,) = by_setting([common | {"label": a, "setting": b, "value": c} for a, b, c in rows])
    assert (table.setting, table.columns) == ("D, E, P at conv2", ["n 1 = 1", "n 1 = 2"])
    assert table.rows == [("a", ["50.0", "62.5"]), ("b", ["25.0", "-"])]


USE = """
const board = document.querySelector(".leaderboard");
const note = (name, value) => { document.body.dataset[name] = value; };
const shown = () => [...board.tBodies[0].rows].filter((row) => !row.hidden);
const labels = () => shown().map((row) => row.cells[0].dataset.value).join(" ");
const tick = (facet, value) => {
  const box = [...document.querySelectorAll(`[data-facet="${facet}"] input`)].find((one) => one.value === value);
  box.checked = !box.checked;
  box.dispatchEvent(new Event("input", { bubbles: true }));
};
const heading = (name) => board.querySelector(`th[data-column="${name}"]`);
heading("linear conv4").querySelector("button").click();
note("sorted", ["linear conv4", "linear conv5"].map((name) => heading(name).getAttribute("aria-sort")).join(" "));
note("order", labels());
tick("kind", "pretext task");
tick("kind", "cross-modal");
note("kinds", labels());
tick("columns", "knn conv4");
note("column", heading("knn conv4").hidden);
note("hash", location.hash);
const link = board.querySelector('tr:not([hidden]) td:not([hidden]) a[tabindex="0"]');
link.focus();
document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
note("focus", document.activeElement.textContent);
document.activeElement.click();
note("opened", document.getElementById("cell-title").textContent);
document.getElementById("cell").close();
document.getElementById("reset").click();
document.querySelectorAll('[role="tab"]')[1].click();
note("tab", `${document.getElementById("panel-linear").hidden} ${document.getElementById("panel-knn").hidden}`);
URL.createObjectURL = (blob) => { blob.text().then((text) => note("csv", JSON.stringify(text))); return "#"; };
setTimeout(() => { note("reset", labels()); document.getElementById("csv").click(); }, 300);
"""


@pytest.mark.slow
@needs_browser
def test_the_leaderboard_sorts_filters_links_and_downloads(page: str, tmp_path: Path) -> None:
    """Headings sort, several kinds can be chosen, columns hide, keys move, tabs switch, and CSV has what is shown."""
    dom = browse(page, tmp_path, "", USE)
    assert attribute(dom, "sorted") == "descending none"
    assert attribute(dom, "order") == f"supervised rotnet clip moco random {EVIL} simclr"
    assert attribute(dom, "kinds") == "supervised rotnet clip random"
    assert attribute(dom, "column") == "true"
    assert attribute(dom, "focus") == "62.0"  # from supervised's linear conv4, its first number, down and right
    assert attribute(dom, "opened") == "rotnet: linear on shapes"
    assert attribute(dom, "tab") == "true false"
    assert attribute(dom, "reset") == f"supervised clip moco rotnet random {EVIL} simclr"
    lines = list(csv.DictReader(io.StringIO(json.loads(attribute(dom, "csv")))))
    assert [line["method"] for line in lines[:7]] == [*f"supervised clip moco rotnet random '{EVIL} simclr".split()]
    assert [line["encoder"] for line in lines] == ["convnet"] * 7 + ["vit"] * 2
    assert (lines[3]["linear conv4"], lines[3]["linear conv4 ±"], lines[3]["knn conv5"]) == ("90.0", "2.0", "40.0")
    assert (lines[6]["linear conv5"], lines[6]["knn conv4"], lines[4]["role"]) == ("failed", "", "floor")

    one, other = (record.key for record in RECORDS if record.cell.method == "mae")
    again = browse(page, tmp_path, f"{attribute(dom, 'hash')}&cell={one}")
    assert f'Other seeds: <a href="#cell={other}">1</a>' in again
    assert shown_methods(again, "leaderboard") == ["supervised", "rotnet", "clip", "random"]
    assert re.search(r'<th [^>]*data-column="knn conv4"[^>]* hidden', again)
    assert 'aria-sort="descending"' in re.search(r'<th [^>]*data-column="linear conv4"[^>]*>', again)[0]


NARROW = """
const frame = document.createElement("iframe");
frame.style.cssText = "width: 390px; height: 844px; border: 0";
frame.srcdoc = document.documentElement.outerHTML.replace(/<script>(?=\\n?const frame)[^]*?<\\/script>/, "");
document.body.replaceChildren(frame);
frame.onload = () => {
  const page = frame.contentDocument, value = page.querySelector('.leaderboard td[data-column="linear conv5"]');
  const place = value.getBoundingClientRect();
  document.body.dataset.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  document.body.dataset.visible = place.left >= 0 && place.right <= 390 && place.top < 844;
};
"""


@needs_browser
def test_the_value_is_visible_on_a_telephone(page: str, tmp_path: Path) -> None:
    """At 390 pixels the page is not wider than the screen, and the first number of the sorted column is on it."""
    dom = browse(page, tmp_path, "", NARROW)
    assert attribute(dom, "overflow") == "0"
    assert attribute(dom, "visible") == "true"
