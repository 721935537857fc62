"""Tables and figures, made from records alone.

Only like is ranked with like: records that differ in protocol card, data, encoder,
preset or budget get a table each. What a reader must know to judge a row stands
below the table. Accuracies become percentages here and nowhere else.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tabulate import tabulate

from ..protocol import BEST, marked, named
from ..records.record import Record
from ..storage.atomic import atomic_write
from .groups import group_comparable
from .overview import Overview, overviews
from .plots.bars import save_bars
from .plots.cost import save_cost
from .plots.heatmap import save_heat_map
from .plots.ranks import save_ranks
from .significance import LEVEL
from .tables import CEILING, FLOOR, Table, tables_of

if TYPE_CHECKING:
    from ..protocol import Protocol

FORMATS = ("md", "csv", "tex", "html", "png", "svg")
WIDTH = 100  # columns of a terminal
ABREAST = 5  # columns of an overview that fit there

# The marks of `bench.protocol` stand for commands until tabulate has escaped everything else.
LATEX = str.maketrans(
    {"\ue000": r"\textbf{", "\ue001": r"\underline{", "\ue002": "}", "\ue003": "}", "±": r"$\pm$", "≈": r"$\approx$"}
)
TAGS = str.maketrans({"\ue000": "<strong>", "\ue001": "<u>", "\ue002": "</strong>", "\ue003": "</u>"})
ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


@dataclass(frozen=True)
class Style:
    """How a kind of file shows a table."""

    tablefmt: str
    marks: dict[int, str]  # what stands for the marks of `bench.protocol` before tabulate sees the table
    legend: str
    joint: str  # between a tap and what stands beside it


STARS = str.maketrans({"\ue000": "*", "\ue001": "", "\ue002": "", "\ue003": ""})
ASTERISKS = str.maketrans({"\ue000": "**", "\ue001": "*", "\ue002": "**", "\ue003": "*"})
PLAIN = Style("simple", STARS, "* best", "\n")
MARKDOWN = Style("pipe", ASTERISKS, "bold: best, italic: second best", " ")
TEX = Style("latex_booktabs", {}, "bold: best, underlined: second best", " ")
HTML = Style("html", {}, "bold: best, underlined: second best", " ")


@dataclass
class Report:
    """What is to be printed, the files written or found up to date, and what they show."""

    text: str = ""
    files: list[Path] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    overviews: list[Overview] = field(default_factory=list)


def report(
    records: Iterable[Record],
    *,
    folder: Path,
    methods: Sequence[str] | None = None,
    headlines: Mapping[str, str] | None = None,
    protocols: Mapping[str, type[Protocol]] | None = None,
    formats: Collection[str] = FORMATS,
    whole: bool = False,
) -> Report:
    """A table and a figure for each set of comparable records: printed, and saved under ``folder``.

    ``headlines``: protocol -> the metric to show, accuracy where none is named. ``protocols``: those that
    show their records in their own way. With ``whole`` also what spans protocols, and accuracy against
    the cost of pretraining.
    """
    wanted = {*methods, CEILING, FLOOR} if methods is not None else None
    groups = group_comparable(record for record in records if wanted is None or record.cell.method in wanted)
    result = Report(tables=tables_of(groups, methods or (), headlines or {}, protocols or {}))
    for table in result.tables:
        result.text += plain(table) + "\n"
        result.files += save_tables(table, folder / "tables", formats)
        result.files += save_bars(table, folder / "figures", formats)
        if whole:
            result.files += save_cost(table, folder / "figures", formats)
    if whole:
        result.overviews = overviews(result.tables)
        for overview in result.overviews:
            result.text += plain(overview) + "\n"
            result.files += save_tables(overview, folder / "tables", formats)
            result.files += save_heat_map(overview, folder / "figures", formats)
            result.files += save_ranks(overview, folder / "figures", formats)
    return result


def save_tables(table: Table | Overview, folder: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Writes the table's text files where their content is new; returns the paths."""
    writers = {"md": markdown, "csv": comma_separated, "tex": latex, "html": hypertext}
    paths = []
    for ending in (ending for ending in writers if ending in formats):
        path = folder / f"{table.name}.{ending}"
        content = writers[ending](table).encode()
        if not path.exists() or path.read_bytes() != content:
            atomic_write(path, content)
        paths.append(path)
    return paths


def plain(table: Table | Overview) -> str:
    """The table for a terminal; what does not fit beside the rest goes below it."""
    grids = [_grid(table, PLAIN)]
    if max(map(len, grids[0].splitlines())) > WIDTH:
        if isinstance(table, Overview):
            places = range(len(table.columns))
            grids = [_overview_grid(table, PLAIN, places[at : at + ABREAST]) for at in places[::ABREAST]]
        else:
            grids = [_table_grid(table, PLAIN, measured=True), _table_grid(table, PLAIN, published=True)]
    notes = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in [*_read_as(table, PLAIN), *table.notes]]
    return "\n\n".join([table.title, *(grid for grid in grids if grid), "\n".join(notes)]) + "\n"


def markdown(table: Table | Overview) -> str:
    """The table as GitHub shows it."""
    notes = "\n".join(f"- {note}" for note in [*_read_as(table, MARKDOWN), *table.notes])
    return f"### {table.title}\n\n{_grid(table, MARKDOWN)}\n\n{notes}\n"


def latex(table: Table | Overview) -> str:
    """The table for a paper that uses booktabs."""
    title, *notes = (text.translate(ESCAPES) for text in [table.title, *_read_as(table, TEX), *table.notes])
    grid = _grid(table, TEX)
    lines = [r"\begin{table}", rf"\caption{{{title}}}", grid, *(rf"\par\footnotesize {note}" for note in notes)]
    return "\n".join([*lines, r"\end{table}"]).translate(LATEX) + "\n"


def hypertext(table: Table | Overview) -> str:
    """The table for a web page, which brings its own style."""
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in [*_read_as(table, HTML), *table.notes])
    grid = (
        _grid(table, HTML).translate(TAGS).replace("<table>", f"<table>\n<caption>{escape(table.title)}</caption>", 1)
    )
    return f"{grid}\n<ul>\n{notes}\n</ul>\n"


def comma_separated(table: Table | Overview) -> str:
    """The table's numbers, tidy, accuracies as fractions; an overview's as one row a method, in its columns' units."""
    if isinstance(table, Overview):
        values = table.values.assign(mean_rank=pd.Series(table.mean_ranks, dtype="float64"))
        return values.to_csv(index_label="method", lineterminator="\n", float_format="%.6g")
    if table.own and table.own.parts:
        return table.own.measured.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    published = pd.Series([table.published(row) for _, cells in table.lines for row in cells], dtype="float64")
    rows = table.rows.assign(metric=table.metric, published=published)
    return rows.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def _grid(table: Table | Overview, style: Style) -> str:
    """The whole of it."""
    if isinstance(table, Overview):
        return _overview_grid(table, style, range(len(table.columns)))
    return _table_grid(table, style, measured=True, published=True)


def _table_grid(table: Table, style: Style, *, measured: bool = False, published: bool = False) -> str:
    """Methods by taps; measured columns first, then published ones."""
    if table.own and table.own.parts:
        return "\n\n".join(_part(part, style) for part in table.own.parts if measured)
    if not measured and table.beside is None:
        return ""
    published = published and table.beside is not None
    header = ["method", *(table.taps if measured else [])]
    header += [f"{tap}{style.joint}(published)" for tap in table.taps if published]
    lines = []
    for label, cells in table.lines:
        line = [named(label, cells[0].role)]
        line += [_cell(table, row) for row in cells if measured]
        line += [table.figure(table.published(row)) for row in cells if published]
        lines.append(line)
    return _tabulated(header, lines, style)


def _part(part: pd.DataFrame, style: Style) -> str:
    """A part of a protocol's own table: text as it is, its marks aside."""
    return _tabulated([str(name) for name in part.columns], part.to_numpy().tolist(), style)


def _overview_grid(overview: Overview, style: Style, places: range) -> str:
    """Methods by protocols and taps, without intervals; the mean rank after the last column."""
    columns = [overview.columns[place] for place in places]
    ranked = bool(overview.mean_ranks) and places[-1] == len(overview.columns) - 1
    header = ["method", *(f"{column.heading}{style.joint}{column.tap}" for column in columns)]
    header += ["mean rank"] if ranked else []
    lines = []
    for label in overview.labels:
        line = [named(label, overview.roles[label])]
        for column in columns:
            row = column.cells.get(label)
            line.append(_cell(column.table, row, interval=False) if row else "-")
        if ranked:
            rank = overview.mean_ranks.get(label)
            line.append("-" if rank is None else f"{rank:.2f}")
        lines.append(line)
    return _tabulated(header, lines, style)


def _tabulated(header: list[str], lines: list[list[str]], style: Style) -> str:
    """Names to the left, numbers to the right."""
    lines = [[str(cell).translate(style.marks) for cell in line] for line in lines]
    aligned = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(lines, header, tablefmt=style.tablefmt, disable_numparse=True, colalign=aligned)


def _cell(table: Table, row: Any, *, interval: bool = True) -> str:
    """A measured number with its interval and marks."""
    text = table.printed(row)
    if interval and not math.isnan(row.half):
        text += f" ± {table.figure(row.half)}"
    return marked(text, row.rank, row.even)


def _read_as(table: Table | Overview, style: Style) -> list[str]:
    """How to read the marks and intervals of a table."""
    rows = pd.concat([column.table.rows for column in table.columns]) if isinstance(table, Overview) else table.rows
    seeds = rows[rows["seeds"] > 0].groupby("label", sort=False)["seeds"].min()
    if seeds.empty:
        return ["nothing was measured"]
    most = seeds.max()
    ranked, even = bool(rows["rank"].notna().any()), bool(rows["even"].any())
    if isinstance(table, Table) and table.own and table.own.parts:
        cells = "".join(str(cell) for part in table.own.parts for cell in part.to_numpy().flat)
        ranked, even = BEST[0] in cells, "≈" in cells
    marks = [f"{style.legend} of the methods, {CEILING} and {FLOOR} aside"] if ranked else []
    if even:
        test = "McNemar" if most == 1 else "randomisation over images"
        marks.append(f"≈: not significantly worse than the best on the same images ({test}, Holm; {100 * LEVEL:.0f} %)")
    if isinstance(table, Overview):
        return marks
    over = "over test images (bootstrap)" if most == 1 else "over seeds (Student's t)"
    fewer = [f"{label} {count}" for label, count in seeds.items() if 1 < most > count]
    over += f"; of fewer seeds: {', '.join(fewer)}" if fewer else ""
    return [*marks, f"±: half the 95 % interval {over}"]
