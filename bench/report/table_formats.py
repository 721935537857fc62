"""A table or overview as text: for a terminal, Markdown, LaTeX, HTML and CSV.

Tables are built as cells first (`Grid`); each format then shows the marks of a cell in its own way. Accuracies become
percentages here and in figures, and are fractions everywhere else.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from tabulate import tabulate

from ..protocol import TableCell, ranked_cell, row_name
from .learning import beyond_images
from .overview import Overview
from .significance import LEVEL
from .tables import CEILING, FLOOR, Table

WIDTH = 100  # columns of a terminal
ABREAST = 5  # columns of an overview that fit there

LATEX_MARKS = str.maketrans({"±": r"$\pm$", "≈": r"$\approx$"})
LATEX_ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}", "<": r"\ensuremath{<}", ">": r"\ensuremath{>}"}
)


@dataclass(frozen=True)
class Grid:
    """Rows of cells below a header. A header has one or two parts, such as a tap and "(published)"."""

    header: list[tuple[str, ...]]
    rows: list[list[TableCell]]

    def render_cells(self, joint: str, render: Callable[[TableCell], str]) -> tuple[list[str], list[list[str]]]:
        """Header and rows as text."""
        header = [render(TableCell(joint.join(parts))) for parts in self.header]
        return header, [[render(cell) for cell in row] for row in self.rows]


def as_text(table: Table | Overview) -> str:
    """The table for a terminal; columns that do not fit go below the others."""
    grids = [_text_grid(grid) for grid in whole_grids(table)]
    if max(len(line) for grid in grids for line in grid.splitlines()) > WIDTH:
        grids = [_text_grid(grid) for grid in narrow_grids(table)]
    notes = [
        textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in [*reading_notes(table, "* best"), *table.notes]
    ]
    return "\n\n".join([table.title, *grids, "\n".join(notes)]) + "\n"


def as_markdown(table: Table | Overview) -> str:
    """The table as GitHub shows it."""
    grids = "\n\n".join(_aligned_grid(grid, "pipe", " ", _markdown_cell) for grid in whole_grids(table))
    notes = [*reading_notes(table, "bold: best, italic: second best"), *table.notes]
    return "\n\n".join([f"### {table.title}", grids, "\n".join(f"- {note}" for note in notes)]) + "\n"


def as_latex(table: Table | Overview) -> str:
    """The table for a paper that uses booktabs."""
    notes = [*reading_notes(table, "bold: best, underlined: second best"), *table.notes]
    lines = [
        r"\begin{table}",
        rf"\caption{{{latex_text(table.title)}}}",
        "\n\n".join(map(_latex_grid, whole_grids(table))),
        *(rf"\par\footnotesize {latex_text(note)}" for note in notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def as_html(table: Table | Overview) -> str:
    """The table for a web page, which brings its own style."""
    grids = "\n\n".join(map(_html_grid, whole_grids(table)))
    grids = grids.replace("<table>", f"<table>\n<caption>{escape(table.title)}</caption>", 1)
    notes = [*reading_notes(table, "bold: best, underlined: second best"), *table.notes]
    return f"{grids}\n<ul>\n" + "".join(f"<li>{escape(note)}</li>\n" for note in notes) + "</ul>\n"


def as_csv(table: Table | Overview) -> str:
    """The numbers: accuracies of a table as fractions; an overview as one row per method, in its columns' units."""
    if isinstance(table, Overview):
        values = table.values.assign(mean_rank=pd.Series(table.mean_ranks, dtype="float64")).rename(index=_csv_text)
        return values.to_csv(index_label="method", lineterminator="\n", float_format="%.6g")
    rows = table.custom.measured if table.custom and table.custom.parts else table.rows_with_references
    rows = rows.map(lambda value: _csv_text(value) if isinstance(value, str) else value)
    return rows.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def _csv_text(text: str) -> str:
    """The text as a spreadsheet shows it; one that begins like a formula gets an apostrophe in front."""
    return f"'{text}" if text.startswith(("=", "+", "@", "-", "\t", "\r")) else text


def whole_grids(table: Table | Overview) -> list[Grid]:
    """All of a table: the parts of a protocol's own, or one grid."""
    if isinstance(table, Overview):
        return [overview_grid(table, range(len(table.columns)))]
    if table.custom and table.custom.parts:
        return [part_grid(part) for part in table.custom.parts]
    return [table_grid(table, measured=True, published=table.references is not None)]


def narrow_grids(table: Table | Overview) -> list[Grid]:
    """The same in grids that fit a terminal: groups of an overview's columns; published numbers below measured ones."""
    if isinstance(table, Overview):
        places = range(len(table.columns))
        return [overview_grid(table, places[start : start + ABREAST]) for start in places[::ABREAST]]
    if (table.custom and table.custom.parts) or table.references is None:
        return whole_grids(table)
    return [table_grid(table, measured=True), table_grid(table, published=True)]


def table_grid(table: Table, *, measured: bool = False, published: bool = False) -> Grid:
    """Methods by taps: measured columns, then published ones."""
    header: list[tuple[str, ...]] = [("method",)]
    header += [(tap,) for tap in table.taps if measured]
    header += [(tap, "(published)") for tap in table.taps if published]
    rows = []
    for label, cells in table.rows_by_label:
        row = [TableCell(row_name(label, cells[0].role or beyond_images(cells[0].learns_from)))]
        row += [measured_cell(table, cell) for cell in cells if measured]
        row += [TableCell(table.format_number(table.reference(cell))) for cell in cells if published]
        rows.append(row)
    return Grid(header, rows)


def overview_grid(overview: Overview, places: range) -> Grid:
    """Methods by protocols and taps, without intervals; the mean rank follows the last column."""
    columns = [overview.columns[place] for place in places]
    ranked = bool(overview.mean_ranks) and places[-1] == len(overview.columns) - 1
    header: list[tuple[str, ...]] = [("method",), *((column.heading, column.tap) for column in columns)]
    header += [("mean rank",)] if ranked else []
    rows = []
    for label in overview.labels:
        row = [TableCell(row_name(label, overview.roles[label] or beyond_images(overview.kinds[label])))]
        for column in columns:
            cell = column.cells.get(label)
            row.append(measured_cell(column.table, cell, interval=False) if cell else TableCell("-"))
        if ranked:
            rank = overview.mean_ranks.get(label)
            row.append(TableCell("-" if rank is None else f"{rank:.2f}"))
        rows.append(row)
    return Grid(header, rows)


def part_grid(part: pd.DataFrame) -> Grid:
    """A part of a protocol's own table, whose cells are text or `TableCell`."""
    rows = [[cell if isinstance(cell, TableCell) else TableCell(str(cell)) for cell in row] for row in part.to_numpy()]
    return Grid([(str(name),) for name in part.columns], rows)


def measured_cell(table: Table, row: Any, *, interval: bool = True) -> TableCell:
    """The cell of a row of `Table.rows`."""
    text = table.mean_text(row)
    if interval and not math.isnan(row.ci_half_width):
        text += f" ± {table.format_number(row.ci_half_width)}"
    return ranked_cell(text, row.rank, bool(row.tied_with_best))


def reading_notes(table: Table | Overview, legend: str) -> list[str]:
    """How to read the marks and the intervals of a table."""
    rows = pd.concat([column.table.rows for column in table.columns]) if isinstance(table, Overview) else table.rows
    seeds = rows[rows["seeds"] > 0].groupby("label", sort=False)["seeds"].min()
    if seeds.empty:
        return ["nothing was measured"]
    most = seeds.max()
    cells = [cell for grid in whole_grids(table) for row in grid.rows for cell in row]
    notes = []
    if any(cell.mark for cell in cells):
        notes.append(f"{legend} of the methods ({CEILING} and {FLOOR} are not ranked)")
    if any(cell.tied_with_best for cell in cells):
        test = "McNemar" if most == 1 else "randomisation over images"
        notes.append(f"≈: not significantly worse than the best on the same images ({test}, Holm; {100 * LEVEL:.0f} %)")
    if isinstance(table, Overview):
        return notes
    over = "over test images (Wilson)" if most == 1 else "over seeds (Student's t)"
    fewer = [f"{label} {count}" for label, count in seeds.items() if 1 < most > count]
    over += f"; with fewer seeds: {', '.join(fewer)}" if fewer else ""
    return [*notes, f"±: half the 95 % interval {over}"]


def latex_text(text: str) -> str:
    """The text with every special sign escaped."""
    return text.translate(LATEX_ESCAPES).translate(LATEX_MARKS)


def _text_grid(grid: Grid) -> str:
    return _aligned_grid(grid, "simple", "\n", lambda cell: "*" * (cell.mark == "best") + _with_tie(cell))


def _aligned_grid(grid: Grid, tablefmt: str, joint: str, render: Callable[[TableCell], str]) -> str:
    """The grid with names to the left and numbers to the right."""
    header, rows = grid.render_cells(joint, render)
    aligned = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(rows, header, tablefmt=tablefmt, disable_numparse=True, colalign=aligned)


def _markdown_cell(cell: TableCell) -> str:
    sign = {"best": "**", "second best": "*"}.get(cell.mark, "")
    return f"{sign}{_with_tie(cell)}{sign}".replace("|", r"\|")


def _latex_grid(grid: Grid) -> str:
    """The grid as a tabular, in columns that are aligned in the source too."""
    header, rows = grid.render_cells(" ", _latex_cell)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [_latex_row(row, widths) for row in (header, *rows)]
    columns = "l" + "r" * (len(header) - 1)
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}"])


def _latex_row(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return " " + " & ".join(cells) + r" \\"


def _latex_cell(cell: TableCell) -> str:
    command = {"best": r"\textbf", "second best": r"\underline"}.get(cell.mark)
    text = latex_text(_with_tie(cell))
    return f"{command}{{{text}}}" if command else text


def _html_grid(grid: Grid) -> str:
    header, rows = grid.render_cells(" ", _html_cell)
    body = "\n".join(_html_row(row, "td") for row in rows)
    return f"<table>\n<thead>\n{_html_row(header, 'th')}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _html_row(row: Sequence[str], tag: str) -> str:
    numbers = "".join(f'<{tag} style="text-align: right;">{cell}</{tag}>' for cell in row[1:])
    return f"<tr><{tag}>{row[0]}</{tag}>{numbers}</tr>"


def _html_cell(cell: TableCell) -> str:
    tag = {"best": "strong", "second best": "u"}.get(cell.mark)
    text = escape(_with_tie(cell))
    return f"<{tag}>{text}</{tag}>" if tag else text


def _with_tie(cell: TableCell) -> str:
    return "≈" * cell.tied_with_best + cell.text
