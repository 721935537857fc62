"""The table of a protocol with several metrics: a row per method, a column per metric and tap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sslbench import TableCell, format_number, ranked_cell, row_name

if TYPE_CHECKING:
    from pandas import DataFrame

Line = dict[str | tuple[str, str], TableCell]  # column -> its cell; a column is (metric, tap) after the first


def metrics_table(headline: str, measured: DataFrame) -> list[DataFrame]:
    """Methods by metrics and taps with a row for chance; [] for one metric, for which methods by taps are enough.

    The columns of the metric ``headline`` are first. Rows keep their order, in which the best are first.
    """
    import pandas as pd

    if measured["metric"].nunique() < 2:
        return []
    lines: dict[str, Line] = {}
    row: Any
    for row in measured.sort_values("metric", key=lambda names: names != headline, kind="stable").itertuples():
        role = row.role if row.role != row.label else ""
        line = lines.setdefault(row.label, {"method": TableCell(row_name(row.label, role))})
        line[column_of(row)] = cell_of(row)
    lines = with_chance_line(lines, headline, measured)
    table = pd.DataFrame(lines.values())
    table.attrs["labels"] = [*lines]
    return [table]


def column_of(row: Any) -> tuple[str, str]:
    """The two parts of the heading of a row's column: metric with unit and direction, and tap."""
    unit = "%" if row.unit == "fraction" else row.unit
    name = f"{row.metric} ({unit})" if unit else row.metric
    return (name if row.higher_is_better else f"{name} ↓"), row.tap


def cell_of(row: Any) -> TableCell:
    """The mean of a row and half the width of its interval, marked by its rank."""
    if row.failed:
        return TableCell("failed")
    text = format_number(row.mean, row.unit)
    if not math.isnan(row.ci_half_width):
        text += f" ± {format_number(row.ci_half_width, row.unit)}"
    return ranked_cell(text, row.rank, bool(row.tied_with_best))


def with_chance_line(lines: dict[str, Line], headline: str, measured: DataFrame) -> dict[str, Line]:
    """The lines with one for chance, at its place among the rows by the headline at the last tap."""
    known = measured[measured["chance"].notna()]
    if known.empty:
        return lines
    chance: Line = dict.fromkeys(next(iter(lines.values())), TableCell("-")) | {"method": TableCell("chance")}
    row: Any
    for row in known.itertuples():
        chance[column_of(row)] = TableCell(format_number(row.chance, row.unit))
    labels = [*lines]
    deciding = known[known["metric"] == headline]
    last = deciding[deciding["tap"] == deciding["tap"].iloc[-1]] if len(deciding) else deciding
    sign = last["higher_is_better"].map({True: 1, False: -1})
    behind = last.loc[~(sign * last["mean"] >= sign * last["chance"]), "label"].tolist()
    place = labels.index(behind[0]) if behind else len(labels)
    return {label: lines.get(label, chance) for label in [*labels[:place], "chance", *labels[place:]]}
