"""Methods by protocols: the columns of all tables that were measured on one data set with one encoder and budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    title: str
    columns: list[Column]
    labels: list[str]
    roles: dict[str, str]  # label -> "ceiling", "floor" or ""
    kinds: dict[str, str]  # label of a method -> what it learns from
    mean_ranks: dict[str, float]  # over the columns, of the methods that were measured in all of them, among their kind
    notes: list[str]

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


def build_overviews(tables: Sequence[Table]) -> list[Overview]:
    """An overview for each place with two tables or more. Tables of ablations are left out: they compare no methods."""
    by_place: dict[str, list[Table]] = {}
    for table in tables:
        if table.rows["variant"].eq("").any():
            by_place.setdefault(fingerprint(overview_conditions(table.records[0])), []).append(table)
    several = [group for group in by_place.values() if len(group) > 1]
    leads = [group[0].records[0] for group in several]
    places = [measured_where([record for table in group for record in table.records]) for group in several]
    differences = distinguishing_settings(places, list(map(overview_conditions, leads)))
    return [
        build_overview(group, place + (f"; {difference}" if difference else ""))
        for group, place, difference in zip(several, places, differences, strict=True)
    ]


def build_overview(tables: Sequence[Table], where: str) -> Overview:
    """The overview of the tables of one place."""
    lead = tables[0].records[0]
    columns = build_columns(tables)
    roles: dict[str, str] = {}
    for role in ("ceiling", "floor", ""):
        for table in tables:
            roles |= dict.fromkeys(table.rows.loc[table.rows["role"] == role, "label"], role)
    rows = [row for table in tables for _, taps in table.rows_by_label for row in taps]
    kinds: dict[str, str] = {row.label: row.learns_from for row in rows if not row.role}
    ranks: dict[str, float] = {}
    for kind in dict.fromkeys(kinds.values()):
        ranks |= mean_ranks(columns, [label for label in kinds if kinds[label] == kind])
    metrics = dict.fromkeys(f"{table.protocol}: {table.heading}" for table in tables)
    notes = [
        *metrics,
        *(f"protocol card, {table.protocol}: {settings_text(table.records[0].card)}" for table in tables),
    ]
    if ranks:
        among = ", among those that learn from the same" if len(set(kinds.values())) > 1 else ""
        notes.append(
            f"mean rank: over the {len(columns)} columns, for methods with a number in each{among}; "
            "columns share test images, so it is a description and not a test"
        )
    digest = fingerprint(overview_conditions(lead))[:6]
    return Overview(
        name=file_name("overview", lead.cell.dataset, lead.cell.encoder, lead.cell.preset, digest),
        title=f"methods by protocols {where}",
        columns=columns,
        labels=list(roles),
        roles=roles,
        kinds=kinds,
        mean_ranks=ranks,
        notes=notes,
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
