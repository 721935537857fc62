"""The leaderboard: for each data set, encoder and preset a table of methods by protocols and taps.

Numbers are ranked column by column within one such table, never between tables. Every number is text that the report's
own functions made; the raw value serves for sorting alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...records.measurement import short_number
from ..grids import measured_cell
from ..learning import methods
from ..overview import Column, Overview, build_overviews
from ..row_labels import row_labels
from ..tables import Table

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Value:
    """One number of the leaderboard."""

    text: str
    interval: str  # half the width of the 95 % interval; "" where there is none
    raw: float | None  # sorts; None where nothing was measured
    mark: str  # "best", "second best" or ""
    tied_with_best: bool
    key: str  # of a record; "" where nothing was measured


@dataclass(frozen=True)
class Row:
    """One method of the leaderboard, or floor or ceiling."""

    label: str
    role: str
    learns_from: str
    kind: str  # of method, one of `plugins.method_kinds.KINDS`
    year: str
    flops: float  # of pretraining, NaN where unknown
    values: list[Value]

    @property
    def flops_text(self) -> str:
        """The operations of pretraining in two digits."""
        return short_number(self.flops)


@dataclass(frozen=True)
class Board:
    """The leaderboard of one data set, encoder and preset."""

    where: str
    dataset: str
    encoder: str
    preset: str
    headings: list[Heading]
    sorted_by: str  # name of the column that orders the rows
    rows: list[Row]


@dataclass(frozen=True)
class Heading:
    """The heading of a column of numbers."""

    name: str  # such as "linear conv5"
    protocol: str
    tap: str
    metric: str
    higher_is_better: bool


def build_boards(tables: Sequence[Table]) -> list[Board]:
    """A leaderboard for each place that has a table of methods; those with the most numbers first."""
    boards = [build_board(overview) for overview in build_overviews(tables, at_least=1)]
    return sorted(boards, key=lambda board: -len(board.rows) * len(board.headings))


def build_board(overview: Overview) -> Board:
    """The leaderboard of one overview, its rows in the same order."""
    cell = overview.columns[0].table.records[0].cell
    keys = [record_keys(column) for column in overview.columns]
    return Board(
        where=overview.where.removeprefix("on "),
        dataset=cell.dataset,
        encoder=cell.encoder,
        preset=str(cell.preset or UNKNOWN),
        headings=[heading_of(column) for column in overview.columns],
        sorted_by=heading_of(overview.columns[overview.sorted_by]).name,
        rows=[build_row(overview, label, keys) for label in overview.labels],
    )


def heading_of(column: Column) -> Heading:
    """The heading of a column of an overview."""
    table = column.table
    name = f"{column.heading} {column.tap}"
    return Heading(name, column.heading, column.tap, table.heading, table.higher_is_better)


def build_row(overview: Overview, label: str, keys: Sequence[dict[str, str]]) -> Row:
    """One row of an overview with its values and with what is known of its method."""
    cells = [column.cells.get(label) for column in overview.columns]
    first: Any = next(cell for cell in cells if cell is not None)
    kind, year = kind_and_year(first.method)
    values = [
        build_value(column.table, cell, of_table.get(label, ""))
        for column, cell, of_table in zip(overview.columns, cells, keys, strict=True)
    ]
    flops = next((cell.flops for cell in cells if cell is not None and cell.flops > 0), math.nan)
    return Row(label, overview.roles[label], first.learns_from, kind, year, flops, values)


def build_value(table: Table, row: Any, key: str) -> Value:
    """The number of a row of `Table.rows`; None stands for a row that the table does not have."""
    if row is None:
        return Value("-", "", None, "", False, "")
    cell = measured_cell(table, row, interval=False)
    interval = "" if math.isnan(row.ci_half_width) else table.format_number(row.ci_half_width)
    raw = None if math.isnan(row.mean) else float(row.mean)
    return Value(cell.text, interval, raw, cell.mark, cell.tied_with_best, key)


def record_keys(column: Column) -> dict[str, str]:
    """Label of a row -> the key of its first record."""
    found: dict[str, str] = {}
    for key, label in row_labels(column.table.records).items():
        found.setdefault(label, key)
    return found


def kind_and_year(method: str) -> tuple[str, str]:
    """What a method, or the method of a registered checkpoint, declares about itself; "unknown" where nothing."""
    plugin = methods().get(method.partition("@")[0])
    constants = plugin.constants if plugin else {}
    return str(constants.get("kind") or UNKNOWN), str(constants.get("year") or UNKNOWN)
