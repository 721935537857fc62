"""A table or overview as text: for a terminal, Markdown, LaTeX, HTML and CSV.

Tables are built as cells first (see `grids`); each format then shows the marks of a cell in its own way. The caption
is above the numbers and what a reader needs is below them. Settings are folded, or in a table of their own in LaTeX.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from html import escape
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from ..errors import program_name
from ..protocol import TableCell
from .grids import Grid, narrow_grids, reading_notes, whole_grids
from .latex import latex_grid, latex_settings, latex_text
from .overview import Overview
from .tables import Table

WIDTH = 100  # columns, where no terminal says how many it has
NARROWEST = 40  # columns that notes are wrapped to; narrower terminals wrap by themselves


def as_text(table: Table | Overview) -> str:
    """The table for a terminal; published columns that do not fit go below the others."""
    width = terminal_width()
    grids = [_text_grid(grid) for grid in whole_grids(table)]
    if max(len(line) for grid in grids for line in grid.splitlines()) > width:
        grids = [_text_grid(grid) for grid in narrow_grids(table)]
    notes = [*reading_notes(table, "* best"), *table.notes]
    if table.settings:
        notes.append(f"settings: {settings_command(table)}")
    caption = [wrap_text(table.caption, width)] if table.caption else []
    return (
        "\n\n".join([table.title, *caption, *grids, "\n".join(wrap_text(note, width, "  ") for note in notes)]) + "\n"
    )


def terminal_width() -> int:
    """The columns of the terminal that is printed to, or a usual number where the text goes elsewhere."""
    return max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns) if sys.stdout.isatty() else WIDTH


def wrap_text(text: str, width: int, indent: str = "") -> str:
    """The text in lines of at most ``width`` columns; paths and addresses are not broken."""
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def settings_command(table: Table | Overview) -> str:
    """The command that prints the settings of one cell of a table."""
    records = table.records if isinstance(table, Table) else table.columns[0].table.records
    folder = records[0].folder
    results = ""
    if folder:
        here, path = Path.cwd(), folder.parent
        results = f" --results {path.relative_to(here) if path.is_relative_to(here) else path}"
    return f"{program_name()} report{results} --card CELL"


def as_markdown(table: Table | Overview) -> str:
    """The table as GitHub shows it."""
    grids = [_aligned_grid(grid, "pipe", "<br>", _markdown_cell) for grid in whole_grids(table)]
    notes = [*reading_notes(table, "bold: best, italic: second best"), *table.notes]
    parts = [f"### {table.title}", *filter(None, [table.caption]), *grids, "\n".join(f"- {note}" for note in notes)]
    if table.settings:
        settings = "\n".join(f"- {name}: {text}" for name, text in table.settings)
        parts.append(f"<details>\n<summary>Settings</summary>\n\n{settings}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def as_latex(table: Table | Overview) -> str:
    """The table for a paper that uses booktabs, and one of its settings for the appendix."""
    notes = [*reading_notes(table, "bold: best, underlined: second best"), *table.notes]
    label = f"tab:{table.name}"
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(' '.join(filter(None, [table.title + '.', table.caption])))}}}",
        rf"\label{{{label}}}",
        "\n\n".join(map(latex_grid, whole_grids(table))),
        *(rf"\par\footnotesize {latex_text(note)}" for note in notes),
        r"\end{table}",
        *latex_settings(table.settings, label),
    ]
    return "\n".join(lines) + "\n"


def as_html(table: Table | Overview) -> str:
    """The table for a web page, which brings its own style: rules and published numbers have classes."""
    grids = "\n\n".join(map(_html_grid, whole_grids(table)))
    caption = escape(table.title) + (f"<br>{escape(table.caption)}" if table.caption else "")
    grids = grids.replace("<table>", f"<table>\n<caption>{caption}</caption>", 1)
    notes = [*reading_notes(table, "bold: best, underlined: second best"), *table.notes]
    listed = "".join(f"<li>{escape(note)}</li>\n" for note in notes)
    settings = "".join(f"<dt>{escape(name)}</dt>\n<dd>{escape(text)}</dd>\n" for name, text in table.settings)
    folded = f"<details>\n<summary>Settings</summary>\n<dl>\n{settings}</dl>\n</details>\n" if settings else ""
    return f"{grids}\n<ul>\n{listed}</ul>\n{folded}"


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


def _text_grid(grid: Grid) -> str:
    return _aligned_grid(grid, "simple", "\n", lambda cell: "*" * (cell.mark == "best") + _with_tie(cell), wrapped=14)


def _aligned_grid(
    grid: Grid, tablefmt: str, joint: str, render: Callable[[TableCell], str], wrapped: int = 1000
) -> str:
    """The grid with words to the left and numbers to the right; ``wrapped``: columns of a group's heading."""
    header = [joint.join([*(wrap_text(group, wrapped) for group in groups), name]) for *groups, name in grid.header]
    rows = []
    for place, row in enumerate(grid.rows):
        cells = [render(cell) for cell in row]
        rows.append([f"── {cells[0]} ──", *cells[1:]] if place in grid.rules else cells)
    aligned = ["left" if column in grid.words else "right" for column in range(len(header))]
    if tablefmt == "pipe":
        header = [re.sub(r"(?<!\\)\|", r"\|", name) for name in header]
    return tabulate(rows, header, tablefmt=tablefmt, disable_numparse=True, colalign=aligned)


def _markdown_cell(cell: TableCell) -> str:
    sign = {"best": "**", "second best": "*"}.get(cell.mark, "")
    return f"{sign}{_with_tie(cell)}{sign}".replace("|", r"\|")


def _html_grid(grid: Grid) -> str:
    """The grid; published numbers have a heading of their own over their columns."""
    groups = grid.header_groups()
    lines = []
    if any(name for name, _ in groups):
        cells = [
            f'<th colspan="{count}" scope="colgroup">{escape(name)}</th>' if name else f'<td colspan="{count}"></td>'
            for name, count in groups
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    lines.append(_html_row([escape(parts[-1]) for parts in grid.header], "th", grid))
    body = []
    for place, row in enumerate(grid.rows):
        kind = f' class="rule {grid.rules[place]}"' if place in grid.rules else ""
        body.append(_html_row([_html_cell(cell) for cell in row], "td", grid, kind))
    head = "\n".join(lines)
    return f"<table>\n<thead>\n{head}\n</thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table>"


def _html_row(row: list[str], tag: str, grid: Grid, kind: str = "") -> str:
    cells = []
    for column, cell in enumerate(row):
        published = ' class="published"' if column in grid.published else ""
        style = "" if column in grid.words else ' style="text-align: right;"'
        cells.append(f"<{tag}{published}{style}>{cell}</{tag}>")
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _html_cell(cell: TableCell) -> str:
    tag = {"best": "strong", "second best": "u"}.get(cell.mark)
    text = escape(_with_tie(cell))
    return f"<{tag}>{text}</{tag}>" if tag else text


def _with_tie(cell: TableCell) -> str:
    return "≈" * cell.tied_with_best + cell.text
