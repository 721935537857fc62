"""The figure of a protocol's pictures: whose are shown, where each is, and files that do not hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sslbench.bench.records import store
from sslbench.bench.records.record import Examples, Record
from sslbench.bench.report.page.cells import examples_of
from sslbench.bench.report.page.figures import embed_figures
from sslbench.bench.report.plots import styled_figure
from sslbench.bench.report.plots.pictures import draw_pictures, iter_shown, read_pictures
from sslbench.bench.report.render import FIGURE_FORMATS, remove_outdated, write_report
from sslbench.bench.run.examples import SIDE, contact_sheet
from tests.records.builders import accuracy_record

from .figures import problems_of

METHODS = {"rotnet": 0.5, "moco": 0.6, "random": 0.2, "supervised": 0.9, "jigsaw": 0.7}


def store_record(folder: Path, method: str, columns: int, rows: int = 2) -> Record:
    """Store a record with pictures whose grey says their row and column; that of jigsaw has none."""
    record = accuracy_record(method, 0, METHODS[method], METHODS[method])
    greys = 20 * (1 + torch.arange(columns)[:, None] + 3 * torch.arange(rows))
    sheet = contact_sheet([column[:, None, None, None].expand(rows, 3, 8, 8).to(torch.uint8) for column in greys])
    titles = ("query", *(f"nearest {place}" for place in range(1, columns)))
    examples = Examples(
        file="", side=SIDE, titles=titles, captions=((),) * (columns - 1) + (("✓ cat", "✗ dog")[:rows],)
    )
    kept = None if method == "jigsaw" else sheet
    return store.read(store.write(folder / "records", replace(record, examples=examples), examples=kept))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with records of five methods; the best one has no pictures."""
    folder = tmp_path_factory.mktemp("results")
    for method in METHODS:
        store_record(folder, method, 3)
    return folder


def test_best_method_ceiling_and_floor_are_shown_and_the_page_describes_them(results: Path) -> None:
    """The best method that has pictures comes first; the figure is a PNG that a later report would remove."""
    report = write_report(store.read_all(results / "records")[0], folder=results, formats=FIGURE_FORMATS)
    (table,) = report.tables
    shown = list(iter_shown(table))
    assert [one.heading for one in shown] == ["moco", "supervised (ceiling)", "random (floor)"]
    paths = [path for path in report.files if path.name.startswith("pictures-")]
    assert [path.suffix for path in paths] == [".png"]
    figure = next(figure for figure in embed_figures(report) if figure.name.startswith("pictures-"))
    assert figure.protocol == table.protocol
    assert "what the features answer" in figure.text
    assert not problems_of(styled_figure(lambda: draw_pictures(table, shown)))
    assert paths[0] in remove_outdated(results, [], [table.protocol])


def test_methods_with_many_columns_are_below_each_other(tmp_path: Path) -> None:
    """Each then has at most three rows, and no text covers another."""
    records = [store_record(tmp_path, method, 6, rows=5) for method in ("moco", "random")]
    report = write_report(records, folder=tmp_path, formats=())
    figure = styled_figure(lambda: draw_pictures(report.tables[0], list(iter_shown(report.tables[0]))))
    first, second = figure.axes
    assert first.get_position().y0 > second.get_position().y1
    assert len(first.images) == 3 * 6
    assert not problems_of(figure)


def test_pictures_are_cut_out_of_their_sheet(results: Path) -> None:
    """Two rows of three pictures: each has the grey of its place."""
    records = {record.cell.method: record for record in store.read_all(results / "records")[0]}
    pictures = read_pictures(records["moco"])
    assert pictures is not None
    assert pictures.shape == (2, 3, SIDE, SIDE, 3)
    expected = 20 * (1 + np.arange(3) + 3 * np.arange(2)[:, None])
    assert np.abs(pictures.mean((2, 3, 4)) - expected).max() < 5
    assert read_pictures(records["jigsaw"]) is None
    of_page = examples_of(records["moco"])
    assert of_page is not None
    assert of_page["source"].startswith("data:image/webp;base64,")
    assert of_page["titles"] == ("query", "nearest 1", "nearest 2")
    assert examples_of(records["jigsaw"]) is None


@pytest.mark.parametrize("damage", ["missing", "text", "link", "narrow", "side", "titles"])
def test_a_file_that_does_not_hold_the_pictures_is_passed_over(tmp_path: Path, damage: str) -> None:
    """The report is complete without them, and never shows another file."""
    record = store_record(tmp_path, "moco", 3)
    examples = record.examples
    assert examples is not None
    path = tmp_path / "records" / examples.file
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("no picture")
    elif damage == "link":
        path.rename(tmp_path / "elsewhere.webp")
        path.symlink_to(tmp_path / "elsewhere.webp")
    elif damage == "narrow":
        path.write_bytes(contact_sheet([torch.zeros(2, 3, 8, 8)]))
    else:
        changed = {"side": {"side": 0}, "titles": {"titles": ()}}[damage]
        record = replace(record, examples=replace(examples, **changed))
    assert read_pictures(record) is None
    assert not any(path.name.startswith("pictures-") for path in write_report([record], folder=tmp_path).files)
