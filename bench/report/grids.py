"""A table or overview as cells: which columns and rows there are, and which of them are marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..protocol import TableCell, ranked_cell, row_name
from ..records.comparable import CEILING, FLOOR
from .columns import Column, describing_columns
from .learning import beyond_images
from .overview import Overview
from .significance import LEVEL
from .tables import Table

ABREAST = 5  # columns of an overview that fit a terminal


@dataclass(frozen=True)
class Grid:
    """Rows of cells below a header. A heading has one or two parts: a column's name, and before it a group's."""

    header: list[tuple[str, ...]]
    rows: list[list[TableCell]]
    rules: Mapping[int, str] = field(default_factory=dict)  # row -> "floor", "ceiling" or "chance"
    words: frozenset[int] = frozenset({0})  # columns of words, which are aligned to the left
    published: frozenset[int] = frozenset()  # columns of published numbers

    def header_groups(self) -> list[tuple[str, int]]:
        """The groups of columns in order, each with its number of columns; "" for columns without a group."""
        groups: list[tuple[str, int]] = []
        for parts in self.header:
            name = parts[0] if len(parts) > 1 else ""
            if groups and groups[-1][0] == name:
                groups[-1] = (name, groups[-1][1] + 1)
            else:
                groups.append((name, 1))
        return groups


def whole_grids(table: Table | Overview) -> list[Grid]:
    """All of a table: the parts of a protocol's own, or one grid."""
    if isinstance(table, Overview):
        return [overview_grid(table, range(len(table.columns)))]
    if table.custom and table.custom.parts:
        return [part_grid(table, part) for part in table.custom.parts]
    return [table_grid(table, measured=True, published=table.references is not None)]


def narrow_grids(table: Table | Overview) -> list[Grid]:
    """The same in grids that fit a terminal: groups of an overview's columns; published numbers below measured ones."""
    if isinstance(table, Overview):
        places = range(len(table.columns))
        return [overview_grid(table, places[start : start + ABREAST]) for start in places[::ABREAST]]
    if table.custom and table.custom.parts:
        return [grid for part in table.custom.parts for grid in narrow_part_grids(table, part)]
    if table.references is None:
        return whole_grids(table)
    return [table_grid(table, measured=True), table_grid(table, published=True)]


def table_grid(table: Table, *, measured: bool = False, published: bool = False) -> Grid:
    """Methods by taps: measured columns, what describes the methods and their encoders, then published numbers."""
    before, after = describing_columns(table) if measured else ([], [])
    taps = table.taps if measured else []
    setting = f"published: {table.references.setting}" if table.references and published else ""
    header: list[tuple[str, ...]] = [("method",), *((column.name,) for column in before), *((tap,) for tap in taps)]
    header += [(column.name,) for column in after]
    first_published = len(header)
    header += [(setting, tap) for tap in table.taps if published]
    rows: list[list[TableCell]] = []
    rules: dict[int, str] = {}
    for label, cells in with_chance_row(table):
        values = [table.reference(cell) for cell in cells] if published else []
        if not measured and not any(value is not None for value in values):
            continue
        head = cells[0]
        if head.role:
            rules[len(rows)] = head.role
        row = [TableCell(row_name(label, head.role if head.role != label else ""))]
        row += described_by(before, label)
        row += [measured_cell(table, cell) for cell in cells if measured]
        row += described_by(after, label)
        rows.append([*row, *(TableCell(table.format_number(value)) for value in values)])
    words = {0, *(1 + at for at, column in enumerate(before) if column.is_text)}
    return Grid(header, rows, rules, frozenset(words), frozenset(range(first_published, len(header))))


def with_chance_row(table: Table) -> list[tuple[str, list[Any]]]:
    """The rows of a table with one for what guessing gives, at its place in the order."""
    rows = list(table.rows_by_label)
    if table.chance is None or not measured_rows(table):
        return rows
    sign = 1 if table.higher_is_better else -1
    behind = [at for at, (_, cells) in enumerate(rows) if not sign * cells[-1].mean >= sign * table.chance]
    place = behind[0] if behind else len(rows)
    template = rows[0][1]
    blank = {"label": "chance", "method": "", "role": "chance", "mean": table.chance, "ci_half_width": math.nan}
    blank |= {"rank": math.nan, "tied_with_best": False, "failed": False, "variant": ""}
    return [*rows[:place], ("chance", [cell._replace(**blank) for cell in template]), *rows[place:]]


def measured_rows(table: Table) -> bool:
    """Whether a table has any number."""
    return bool(table.rows["mean"].notna().any())


def overview_grid(overview: Overview, places: range) -> Grid:
    """Methods by protocols and taps, without intervals; the mean rank follows the last column."""
    columns = [overview.columns[place] for place in places]
    ranked = bool(overview.mean_ranks) and places[-1] == len(overview.columns) - 1
    header: list[tuple[str, ...]] = [("method",), *((column.heading, column.tap) for column in columns)]
    header += [("mean rank",)] if ranked else []
    rows: list[list[TableCell]] = []
    rules: dict[int, str] = {}
    for label in overview.labels:
        if role := overview.roles[label]:
            rules[len(rows)] = role
        row = [TableCell(row_name(label, role or beyond_images(overview.learns_from[label])))]
        for column in columns:
            cell = column.cells.get(label)
            row.append(measured_cell(column.table, cell, interval=False) if cell else TableCell("-"))
        if ranked:
            rank = overview.mean_ranks.get(label)
            row.append(TableCell("-" if rank is None else f"{rank:.2f}"))
        rows.append(row)
    return Grid(header, rows, rules)


def part_grid(table: Table, part: pd.DataFrame, *, described: bool = True) -> Grid:
    """A part of a protocol's own table, whose cells are text or `TableCell`.

    If it names the label of each row, floor, ceiling and chance are rules, and if ``described``, columns that describe
    the methods follow the first one and the last one.
    """
    header: list[tuple[str, ...]] = [name if isinstance(name, tuple) else (str(name),) for name in part.columns]
    rows = [[cell if isinstance(cell, TableCell) else TableCell(str(cell)) for cell in row] for row in part.to_numpy()]
    labels = part.attrs.get("labels")
    if labels is None:
        return Grid(header, rows)
    before, after = describing_columns(table) if described else ([], [])
    roles = {"chance": "chance"} | {label: cells[0].role for label, cells in table.rows_by_label}
    wide = [
        [row[0], *described_by(before, label), *row[1:], *described_by(after, label)]
        for label, row in zip(labels, rows, strict=True)
    ]
    names = [header[0], *((column.name,) for column in before), *header[1:], *((column.name,) for column in after)]
    rules = {at: roles[label] for at, label in enumerate(labels) if roles[label]}
    words = {0, *(1 + at for at, column in enumerate(before) if column.is_text)}
    return Grid(names, wide, rules, frozenset(words))


def described_by(columns: Iterable[Column], label: str) -> list[TableCell]:
    """The cells of a row in columns that describe it; a dash where a column says nothing about it."""
    return [TableCell(column.texts.get(label, "-")) for column in columns]


def narrow_part_grids(table: Table, part: pd.DataFrame) -> list[Grid]:
    """A part whose columns have headings of two levels, in pieces that fit a terminal; any other as it is.

    What describes the methods is a piece of its own.
    """
    groups = dict.fromkeys(name[0] for name in part.columns if isinstance(name, tuple))
    pieces: list[list[int]] = []
    for group in groups:
        places = [at for at, name in enumerate(part.columns) if isinstance(name, tuple) and name[0] == group]
        if pieces and len(pieces[-1]) + len(places) <= ABREAST:
            pieces[-1] += places
        else:
            pieces.append(places)
    if len(pieces) < 2:
        return [part_grid(table, part)]
    grids = [part_grid(table, part.iloc[:, [0, *piece]], described=False) for piece in pieces]
    description = part_grid(table, part.iloc[:, [0]])
    return [*grids, *([description] if len(description.header) > 1 else [])]


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
    wilson = table.metric.startswith(("accuracy", "macro_accuracy"))
    if most == 1:
        return [*notes, f"one seed: ± covers test images only (half the 95 % {'Wilson ' * wilson}interval)"]
    fewer = [f"{label} {count}" for label, count in seeds.items() if 1 < most > count]
    over = f"; with fewer seeds: {', '.join(fewer)}" if fewer else ""
    wider = f"over seeds (Student's t), or over test images{' (Wilson)' * wilson} where that is wider"
    return [*notes, f"±: half the 95 % interval {wider}{over}"]
