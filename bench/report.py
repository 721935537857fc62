"""Tables and figures, made from records alone.

Only like is ranked with like: records that differ in protocol card, data, encoder,
preset or budget get a table each. What a reader must know to judge a row stands
below the table. Accuracies become percentages here and nowhere else.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tabulate import tabulate

from bench import plots
from bench.records import Record, write_whole
from bench.tables import CEILING, FLOOR, Table, comparable, places, tabulated

if TYPE_CHECKING:
    from bench.protocol import Protocol

FORMATS = ("md", "csv", "tex", "png", "svg")
WIDTH = 100  # columns of a terminal

# Private characters stand for LaTeX commands until tabulate has escaped everything else.
LATEX = str.maketrans({"\ue000": r"\textbf{", "\ue001": r"\underline{", "\ue002": "}", "±": r"$\pm$"})
ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


@dataclass(frozen=True)
class Style:
    """How a kind of file shows a table."""

    tablefmt: str
    best: str
    second: str
    legend: str
    joint: str  # between a tap and what stands beside it


PLAIN = Style("simple", "*{}", "{}", "* best", "\n")
MARKDOWN = Style("pipe", "**{}**", "*{}*", "bold: best, italic: second best", " ")
TEX = Style("latex_booktabs", "\ue000{}\ue002", "\ue001{}\ue002", "bold: best, underlined: second best", " ")


@dataclass
class Report:
    """What is to be printed, and the files written or found up to date."""

    text: str = ""
    files: list[Path] = field(default_factory=list)


def report(
    records: Iterable[Record],
    *,
    folder: Path,
    methods: Sequence[str] | None = None,
    headline: str = "accuracy",
    formats: Collection[str] = FORMATS,
    protocol: type[Protocol] | None = None,
) -> Report:
    """A table and a figure for each set of comparable records: printed, and saved under ``folder``.

    ``protocol`` is whose records they are, where it shows them in its own way.
    """
    wanted = {*methods, CEILING, FLOOR} if methods is not None else None
    groups = comparable(record for record in records if wanted is None or record["cell"]["method"] in wanted)
    result = Report()
    tables = [
        tabulated(group, place, methods or (), headline, protocol)
        for group, place in zip(groups, places(groups), strict=True)
    ]
    for table in sorted(tables, key=lambda table: table.title):
        result.text += plain(table) + "\n"
        result.files += save_tables(table, folder / "tables", formats)
        result.files += plots.save_figure(table, folder / "figures", formats)
    return result


def save_tables(table: Table, folder: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Writes the table's text files where their content is new; returns the paths."""
    writers = {"md": markdown, "csv": comma_separated, "tex": latex}
    paths = []
    for ending in (ending for ending in writers if ending in formats):
        path = folder / f"{table.name}.{ending}"
        content = writers[ending](table).encode()
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
        paths.append(path)
    return paths


def plain(table: Table) -> str:
    """The table for a terminal; published numbers go below the measured ones if they do not fit beside them."""
    grids = [_grid(table, PLAIN, measured=True, published=True)]
    if max(map(len, grids[0].splitlines())) > WIDTH:
        grids = [_grid(table, PLAIN, measured=True), _grid(table, PLAIN, published=True)]
    notes = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in [*_read_as(table, PLAIN), *table.notes]]
    return "\n\n".join([table.title, *(grid for grid in grids if grid), "\n".join(notes)]) + "\n"


def markdown(table: Table) -> str:
    """The table as GitHub shows it."""
    notes = "\n".join(f"- {note}" for note in [*_read_as(table, MARKDOWN), *table.notes])
    return f"### {table.title}\n\n{_grid(table, MARKDOWN, measured=True, published=True)}\n\n{notes}\n"


def latex(table: Table) -> str:
    """The table for a paper that uses booktabs."""
    title, *notes = (text.translate(ESCAPES) for text in [table.title, *_read_as(table, TEX), *table.notes])
    grid = _grid(table, TEX, measured=True, published=True)
    lines = [r"\begin{table}", rf"\caption{{{title}}}", grid, *(rf"\par\footnotesize {note}" for note in notes)]
    return "\n".join([*lines, r"\end{table}"]).translate(LATEX) + "\n"


def comma_separated(table: Table) -> str:
    """The table's numbers, tidy, accuracies as fractions."""
    if table.own and table.own.parts:
        return table.own.measured.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    published = pd.Series([table.published(row) for row in table.rows.itertuples()], dtype="float64")
    rows = table.rows.assign(metric=table.metric, published=published)
    return rows.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def _grid(table: Table, style: Style, *, measured: bool = False, published: bool = False) -> str:
    """Methods by taps; measured columns first, then published ones."""
    if table.own and table.own.parts:
        return "\n\n".join(_part(part, style) for part in table.own.parts if measured)
    if not measured and table.beside is None:
        return ""
    published = published and table.beside is not None
    header = ["method", *(table.taps if measured else [])]
    header += [f"{tap}{style.joint}(published)" for tap in table.taps if published]
    lines = []
    for label, rows in table.rows.groupby("label", sort=False):
        line = [f"{label} ({rows['role'].iloc[0]})" if rows["role"].iloc[0] else str(label)]
        cells = list(rows.itertuples())
        line += [_cell(table, row, style) for row in cells if measured]
        line += [table.figure(table.published(row)) for row in cells if published]
        lines.append(line)
    aligned = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(lines, header, tablefmt=style.tablefmt, disable_numparse=True, colalign=aligned)


def _part(part: pd.DataFrame, style: Style) -> str:
    """A part of a protocol's own table: text as it is."""
    aligned = ["left"] + ["right"] * (part.shape[1] - 1)
    header = [str(name) for name in part.columns]
    lines = part.to_numpy().tolist()
    return tabulate(lines, header, tablefmt=style.tablefmt, disable_numparse=True, colalign=aligned)


def _cell(table: Table, row: Any, style: Style) -> str:
    """A measured number with its interval, marked if it is best or second best."""
    text = table.printed(row)
    if not math.isnan(row.half):
        text += f" ± {table.figure(row.half)}"
    return {1: style.best, 2: style.second}.get(row.rank, "{}").format(text)


def _read_as(table: Table, style: Style) -> list[str]:
    """How to read the marks and intervals of a table."""
    seeds = table.rows[table.rows["seeds"] > 0].groupby("label", sort=False)["seeds"].min()
    if seeds.empty:
        return ["nothing was measured"]
    over = "over test images (bootstrap)" if seeds.max() == 1 else "over seeds (Student's t)"
    fewer = [f"{label} {count}" for label, count in seeds.items() if 1 < seeds.max() > count]
    over += f"; of fewer seeds: {', '.join(fewer)}" if fewer else ""
    ranked = table.rows["rank"].notna().any() and not (table.own and table.own.parts)
    marks = [f"{style.legend} of the methods, {CEILING} and {FLOOR} aside"] if ranked else []
    return [*marks, f"±: half the 95 % interval {over}"]
