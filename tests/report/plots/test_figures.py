"""Every figure of the committed records: axes are named, have two numbers, and no text covers another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.records.comparable import newest_of_each_cell
from sslbench.bench.records.store import read_all
from sslbench.bench.report.groups import group_comparable
from sslbench.bench.report.overview import build_overviews
from sslbench.bench.report.plots import COLUMN_WIDTH, encode_figure, save_figure, styled_figure
from sslbench.bench.report.plots.cost import draw_costs
from sslbench.bench.report.plots.dots import draw_table_figure
from sslbench.bench.report.plots.heatmap import draw_heat_map
from sslbench.bench.report.tables import build_tables

from .figures import problems_of

FIGURES = [
    pytest.param("cifar10-jpeg", r"(fewlabels|negatives|linear|cost-linear)-.*", id="of each kind"),
    pytest.param("cifar10-jpeg", ".*", id="of photographs", marks=pytest.mark.slow),
    pytest.param("synthetic", ".*", id="of every method", marks=pytest.mark.slow),
]


def figures_of(folder: str) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """The name of each figure of a folder of committed records, and how it is drawn."""
    records, _ = read_all(ROOT / "results" / folder / "records")
    known = find_plugins("protocol")
    own = {name: known[name].load() for name in {record.cell.protocol for record in records}}
    counting, _ = newest_of_each_cell(records)
    tables = build_tables(group_comparable(counting), (), {}, own)
    for table in tables:
        yield table.name, lambda table=table: draw_table_figure(table)
        rows = table.rows[table.rows["mean"].notna()]
        if rows.loc[(rows["role"] == "") & (rows["flops"] > 0), "label"].nunique() > 1:
            yield f"cost-{table.name}", lambda table=table, rows=rows: draw_costs(table, rows)
    for overview in build_overviews(tables):
        yield overview.name, lambda overview=overview: draw_heat_map(overview)


@pytest.mark.parametrize(("folder", "names"), FIGURES)
def test_figures_of_committed_records_can_be_read(folder: str, names: str) -> None:
    """Each figure fits a column of a paper, with the exception of long names."""
    found, widths = {}, {}
    for name, draw in figures_of(folder):
        if not re.fullmatch(names, name):
            continue
        figure = styled_figure(draw)
        widths[name] = figure.get_figwidth()
        if problems := problems_of(figure):
            found[name] = problems
    assert not found
    assert widths
    assert all(width <= 1.2 * COLUMN_WIDTH for width in widths.values()), widths


def two_panels() -> Figure:
    figure = Figure(figsize=(3.4, 2), layout="constrained")
    for axes in figure.subplots(1, 2):
        axes.plot([0, 1], [0, 1])
        axes.set(xlabel="share", ylabel="accuracy (%)")
    return figure


def test_what_is_wrong_with_a_figure_is_found() -> None:
    """The check sees an axis without a label or without numbers, texts that cover each other, and texts outside."""
    assert problems_of(styled_figure(two_panels)) == []
    damages: dict[str, Callable[[Figure], object]] = {
        "no label": lambda figure: figure.axes[1].set_xlabel(""),
        "has the numbers": lambda figure: figure.axes[0].set_xticks([1.0]),
        "covers": lambda figure: [figure.axes[0].text(0.5, 0.5, text) for text in ("one", "two")],
        "outside": lambda figure: figure.text(0.99, 0.5, "a long text"),
    }
    for word, damage in damages.items():
        figure = styled_figure(two_panels)
        damage(figure)
        problems = problems_of(figure)
        assert problems
        assert all(word in problem for problem in problems), (word, problems)


def test_a_png_file_is_wide_and_small(tmp_path: Path) -> None:
    """It has 1,000 pixels across and at most 256 colours; equal content gives equal bytes and is not drawn again."""
    (path,) = save_figure("shares", [1], two_panels, tmp_path, ("png",))
    with Image.open(path) as image:
        assert image.width >= 990  # of 1,000, since empty edges are cut
        assert image.mode == "P"
        assert image.text["Description"].startswith("data ")
    stamp = path.stat().st_mtime_ns
    assert save_figure("shares", [1], two_panels, tmp_path, ("png",)) == [path]
    assert path.stat().st_mtime_ns == stamp
    assert encode_figure(two_panels, "0", ("png",)) == encode_figure(two_panels, "0", ("png",))
