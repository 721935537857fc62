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
from .footnotes import apart, said
from .groups import measured_where
from .tables import Table


@dataclass(frozen=True)
class Column:
    """One tap of one table."""

    heading: str  # "linear", or "linear, head = mlp" where there is another
    tap: str
    table: Table
    cells: dict[str, Any]  # label -> row of the table


@dataclass(frozen=True)
class Overview:
    """Rows that may be ranked together column by column, and never across."""

    name: str  # of its files, without ending
    title: str
    columns: list[Column]
    labels: list[str]
    roles: dict[str, str]  # label -> "ceiling", "floor" or ""
    mean_ranks: dict[str, float]  # over the columns, of the methods measured in each of them
    notes: list[str]

    @property
    def values(self) -> pd.DataFrame:
        """Labels by columns, in the unit of each column; NaN where nothing was measured."""
        return pd.DataFrame(
            {
                f"{column.heading} {column.tap}": {
                    label: column.table.shown(column.cells[label].mean) if label in column.cells else math.nan
                    for label in self.labels
                }
                for column in self.columns
            },
            index=self.labels,
        )


def overviews(tables: Sequence[Table]) -> list[Overview]:
    """One for each place where two protocols or more were asked; ablations, which compare no methods, are left out."""
    homes: dict[str, list[Table]] = {}
    for table in tables:
        if table.rows["variant"].eq("").any():
            homes.setdefault(fingerprint(overview_conditions(table.group[0])), []).append(table)
    several = [of for of in homes.values() if len(of) > 1]
    names = [measured_where(of[0].group[0]) for of in several]
    tellings = apart(names, [overview_conditions(of[0].group[0]) for of in several])
    return [
        overview(of, name + (f"; {telling}" if telling else ""))
        for of, name, telling in zip(several, names, tellings, strict=True)
    ]


def overview(tables: Sequence[Table], where: str) -> Overview:
    """Tables of one place side by side."""
    tellings = apart([table.protocol for table in tables], [table.group[0].card for table in tables])
    columns = []
    for table, telling in zip(tables, tellings, strict=True):
        heading = table.protocol + (f", {telling}" if telling else "")
        for at, tap in enumerate(table.taps):
            columns.append(Column(heading, tap, table, {label: cells[at] for label, cells in table.lines}))
    roles: dict[str, str] = {}
    for role in ("ceiling", "floor", ""):
        for table in tables:
            rows = table.rows[table.rows["role"] == role]
            roles |= dict.fromkeys(rows["label"], role)
    cell = tables[0].group[0].cell
    digest = fingerprint(overview_conditions(tables[0].group[0]))[:6]
    ranks = mean_ranks(columns, [label for label, role in roles.items() if not role])
    metrics = {f"{table.protocol}: {table.heading}": None for table in tables}
    notes = [
        *metrics,
        *(f"protocol card, {table.protocol}: {said(table.group[0].card)}" for table in tables),
    ]
    if ranks:
        notes.append(
            f"mean rank: over the {len(columns)} columns, of the methods with a number in each; "
            "columns share their images, so it describes and does not test"
        )
    return Overview(
        name=file_name("overview", cell.dataset, cell.encoder, cell.preset, digest),
        title=f"methods by protocols {where}",
        columns=columns,
        labels=list(roles),
        roles=roles,
        mean_ranks=ranks,
        notes=notes,
    )


def mean_ranks(columns: Sequence[Column], labels: Sequence[str]) -> dict[str, float]:
    """Average rank of each method that every column has a number of; empty where there is nothing to rank."""
    measured = [
        label
        for label in labels
        if all(label in column.cells and not math.isnan(column.cells[label].mean) for column in columns)
    ]
    if len(columns) < 2 or len(measured) < 2:
        return {}
    ranks = average_ranks([[column.cells[label].mean for label in measured] for column in columns])
    return dict(zip(measured, ranks.tolist(), strict=True))
