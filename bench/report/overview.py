"""Methods by protocols: the columns of all tables that were measured on one data set with one encoder and budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..records.comparable import overview_conditions
from ..records.store import file_name
from ..statistics import average_ranks
from ..storage.hashing import fingerprint
from .footnotes import distinguishing_settings, settings_text
from .groups import measured_where
from .tables import Table


@dataclass(frozen=True)
class Column:
    """One tap of one table."""

    heading: str  # "linear", or "linear, head = mlp" if there is another table of that protocol
    tap: str
    table: Table
    cells: dict[str, Any]  # label -> row of the table


@dataclass(frozen=True)
class Overview:
    """Several tables side by side. Rows may be ranked column by column, never across columns."""

    name: str  # of its files, without ending
    where: str  # data, encoder and preset, and what distinguishes the place from others
    columns: list[Column]
    labels: list[str]  # best first in the column `sorted_by`, floor and ceiling at their places
    sorted_by: int  # the column with the most numbers, of several the last
    roles: dict[str, str]  # label -> "ceiling", "floor" or ""
    learns_from: dict[str, str]  # label -> what the method learns from
    mean_ranks: dict[str, float]  # over the columns, of the methods that were measured in all of them, among their kind
    notes: list[str]
    caption: str = ""
    settings: list[tuple[str, str]] = field(default_factory=list)  # what a reader may look up: (what, its settings)

    @property
    def title(self) -> str:
        """What the overview shows."""
        return f"methods by protocols {self.where}"

    @property
    def datasets(self) -> int:
        """The number of data sets that the columns were measured on."""
        return len({column.table.records[0].identity.dataset for column in self.columns})

    @property
    def values(self) -> pd.DataFrame:
        """Labels by columns, in the unit of each column; NaN where nothing was measured."""
        values = [
            [
                column.table.in_unit(column.cells[label].mean) if label in column.cells else math.nan
                for column in self.columns
            ]
            for label in self.labels
        ]
        headings = [f"{column.heading} {column.tap}" for column in self.columns]
        return pd.DataFrame(values, index=self.labels, columns=headings, dtype="float64")


def build_overviews(tables: Sequence[Table], at_least: int = 2) -> list[Overview]:
    """An overview for each place with that many tables. Tables of ablations are left out: they compare no methods."""
    by_place: dict[str, list[Table]] = {}
    for table in tables:
        if table.rows["variant"].eq("").any():
            by_place.setdefault(fingerprint(overview_conditions(table.records[0])), []).append(table)
    groups = [group for group in by_place.values() if len(group) >= at_least]
    leads = [group[0].records[0] for group in groups]
    places = [measured_where([record for table in group for record in table.records]) for group in groups]
    differences = distinguishing_settings(places, list(map(overview_conditions, leads)))
    return [
        build_overview(group, place + (f"; {difference}" if difference else ""))
        for group, place, difference in zip(groups, places, differences, strict=True)
    ]


def build_overview(tables: Sequence[Table], where: str) -> Overview:
    """The overview of the tables of one place."""
    lead = tables[0].records[0]
    columns = build_columns(tables)
    rows = [row for table in tables for _, taps in table.rows_by_label for row in taps]
    roles: dict[str, str] = {row.label: row.role for row in rows}
    learns_from: dict[str, str] = {row.label: row.learns_from for row in rows}
    sources = dict.fromkeys(learns_from[label] for label, role in roles.items() if not role)
    ranks: dict[str, float] = {}
    for source in sources:
        ranks |= mean_ranks(columns, [label for label in roles if learns_from[label] == source and not roles[label]])
    sorted_by = fullest_column(columns)
    metrics = dict.fromkeys(f"{table.protocol}: {table.heading}" for table in tables)
    notes = [*metrics]
    if ranks:
        among = ", among those that learn from the same" if len(sources) > 1 else ""
        notes.append(
            f"mean rank: over the {len(columns)} columns, for methods with a number in each{among}; "
            "columns share test images, so it is a description and not a test"
        )
    digest = fingerprint(overview_conditions(lead))[:6]
    return Overview(
        name=file_name("overview", lead.cell.dataset, lead.cell.encoder, lead.cell.preset or "external", digest),
        where=where,
        columns=columns,
        labels=sorted(roles, key=lambda label: sort_key(columns[sorted_by], label)),
        sorted_by=sorted_by,
        roles=roles,
        learns_from=learns_from,
        mean_ranks=ranks,
        notes=notes,
        caption=f"Sorted by {columns[sorted_by].heading} at {columns[sorted_by].tap}.",
        settings=[(f"protocol card, {table.protocol}", settings_text(table.records[0].card)) for table in tables],
    )


def build_columns(tables: Sequence[Table]) -> list[Column]:
    """The columns of tables, a heading with what distinguishes the protocol's card from that of its other tables."""
    cards = [table.records[0].card for table in tables]
    differences = distinguishing_settings([table.protocol for table in tables], cards)
    columns = []
    for table, difference in zip(tables, differences, strict=True):
        heading = table.protocol + (f", {difference}" if difference else "")
        for at, tap in enumerate(table.taps):
            columns.append(Column(heading, tap, table, {label: rows[at] for label, rows in table.rows_by_label}))
    return columns


def fullest_column(columns: Sequence[Column]) -> int:
    """The index of the column with the most numbers, the last of several."""
    counts = [sum(not math.isnan(row.mean) for row in column.cells.values()) for column in columns]
    return max(range(len(columns)), key=lambda at: (counts[at], at))


def sort_key(column: Column, label: str) -> tuple[bool, float]:
    """Sorts the best number of a column first, and labels without a number last."""
    value = column.cells[label].mean if label in column.cells else math.nan
    missing = math.isnan(value)
    return missing, 0.0 if missing else -value if column.table.higher_is_better else value


def mean_ranks(columns: Sequence[Column], labels: Sequence[str]) -> dict[str, float]:
    """Average rank of each method that has a number in every column; empty if there are fewer than two of either."""
    measured = [
        label
        for label in labels
        if all(label in column.cells and not math.isnan(column.cells[label].mean) for column in columns)
    ]
    if len(columns) < 2 or len(measured) < 2:
        return {}
    merits = [
        [column.cells[label].mean * (1 if column.table.higher_is_better else -1) for label in measured]
        for column in columns
    ]
    ranks = average_ranks(merits)
    return dict(zip(measured, ranks.tolist(), strict=True))
