"""The figure of a table: a panel per tap with a dot and an interval per method, the best method at the top.

Floor, ceiling and chance are vertical lines. Published numbers have a panel of their own, since they were measured on
other data. A protocol that draws its own figure replaces this one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import (
    CHARACTER_WIDTH,
    COLUMN_WIDTH,
    REFERENCE_STYLES,
    SMALL_TEXT,
    TEXT_COLOUR,
    add_grid_lines,
    add_legend,
    add_title,
    axis_label,
    empty_figure,
    number_of_labels,
    save_figure,
    set_panel_height,
    wrap_text,
)
from .kinds import Mark, kind_name, marks_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table

ROW_HEIGHT = 0.125  # inches
PANEL_WIDTH = 0.78  # inches, at least
GREYS = ("#222222", "#777777", "#aaaaaa")  # of published numbers: the headline tap, and those before it


class Reference(NamedTuple):
    """A value that methods are compared with, drawn as a line."""

    role: str  # "floor", "ceiling" or "chance"
    label: str  # of the row; "" for chance
    value: float
    half_width: float = math.nan


def save_dots(table: Table, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the table's figure if the table has any number; returns the paths."""
    if table.rows["mean"].isna().all():
        return []
    custom = [table.custom.measured.to_csv(), *source_code_of(table.custom.protocol.plot)] if table.custom else []
    content = [
        table.title,
        table.rows.drop(columns=["flops", "seconds", "parameters"]).to_csv(),
        repr(table.references),
        table.chance,
        [number_of_labels(table, tap) for tap in table.taps],
        *custom,
    ]
    return save_figure(table.name, content, lambda: draw_table_figure(table), folder, formats)


def draw_table_figure(table: Table) -> Figure:
    """The figure of a table, as its protocol draws it or in the usual way."""
    return draw_with_protocol(table) or draw_dots(table)


def source_code_of(plot: Any) -> list[str]:
    """The source code of a protocol's ``plot`` and of the modules and functions that it names."""
    used = [plot.__globals__.get(name) for name in plot.__code__.co_names]
    return [inspect.getsource(part) for part in (plot, *used) if inspect.ismodule(part) or inspect.isroutine(part)]


def draw_with_protocol(table: Table) -> Figure | None:
    """The figure that the table's protocol draws itself, None if it draws none."""
    figure = empty_figure(6.4, 4.8)
    if table.custom:
        table.custom.protocol.plot(table.custom.measured, table.custom.published, figure)
    if not figure.axes:
        return None
    add_title(figure, table.title)
    return figure


def draw_dots(table: Table) -> Figure:
    """Panels that share the axis with the names of the methods: one per tap, and one for published numbers."""
    methods = table.rows[table.rows["role"] == ""]
    rows = methods if len(methods) else table.rows
    names = list(dict.fromkeys(rows["label"]))
    published = published_numbers(table, rows)
    columns = len(table.taps) + bool(published)
    name_width = 0.1 + max(map(len, names)) * SMALL_TEXT * CHARACTER_WIDTH / 72
    width = max(COLUMN_WIDTH, name_width + PANEL_WIDTH * columns)
    figure = empty_figure(width, 12)
    panels = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    panel_width = (width - name_width) / columns
    limits = axis_limits(table, rows)
    for axes, tap in zip(panels, table.taps, strict=False):
        draw_tap(axes, table, rows[rows["tap"] == tap], tap, limits)
        axes.set(title=tap, xlabel=axis_label(table, tap, panel_width))
    if published:
        draw_published(panels[-1], table, names, published, panel_width)
    lines = max(len(references_at(table, tap)) for tap in table.taps)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6 - lines)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=min(5, max(2, int(panel_width / 0.25))), min_n_ticks=2)
        add_grid_lines(axes, "both")
    add_legend(figure, panels, "95 % interval")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.02)  # type: ignore[union-attr,call-arg]
    add_title(figure, table.title)
    set_panel_height(figure, ROW_HEIGHT * (len(names) + lines + 0.2))
    return figure


def references_at(table: Table, tap: str) -> list[Reference]:
    """Floor, ceiling and chance at a tap, in the unit of the table; floor and ceiling only next to methods."""
    rows = table.rows[(table.rows["tap"] == tap) & (table.rows["role"] != "") & table.rows["mean"].notna()]
    found = []
    if (table.rows["role"] == "").any():
        row: Any
        for row in rows.sort_values("role", kind="stable").itertuples():
            found.append(Reference(row.role, row.label, table.in_unit(row.mean), table.in_unit(row.ci_half_width)))
    chance = [] if table.chance is None else [Reference("chance", "", table.in_unit(table.chance))]
    return found + chance


def axis_limits(table: Table, rows: pd.DataFrame) -> tuple[float, float]:
    """The ends of the axis that all taps share: intervals, floor and ceiling, and chance unless it is far from them.

    Chance is far from two or more methods if the others would have less than two thirds of the axis.
    """
    means, halves = (rows[name].map(table.in_unit) for name in ("mean", "ci_half_width"))
    references = [reference for tap in table.taps for reference in references_at(table, tap)]
    values = [*(means - halves.fillna(0)).dropna(), *(means + halves.fillna(0)).dropna()]
    values += [reference.value for reference in references if reference.role != "chance"]
    low, high = min(values), max(values)
    span = max(high - low, 1e-6 * abs(high), 1e-9)
    reach = span / 2 if rows["label"].nunique() > 1 else math.inf
    near = [r.value for r in references if r.role == "chance" and low - reach <= r.value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.06 * max(high - low, 1e-6 * abs(high), 1e-9)
    ends = (0.0, table.in_unit(1.0)) if table.in_percent else (-math.inf, math.inf)
    return max(low - pad, min(low, ends[0])), min(high + pad, max(high, ends[1]))


def draw_tap(axes: Axes, table: Table, rows: pd.DataFrame, tap: str, limits: tuple[float, float]) -> None:
    """Draw the dots of one tap with their intervals, and the lines that they are compared with."""
    axes.set_xlim(*limits)
    marks = marks_of(table.rows.loc[table.rows["role"] == "", "learns_from"])
    row: Any
    for place, row in enumerate(rows.itertuples()):
        mark = marks.get(row.learns_from, Mark(TEXT_COLOUR, "o"))
        if row.failed:
            axes.text(0.03, place, "failed", transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL_TEXT)
        axes.errorbar(
            table.in_unit(row.mean), place, xerr=table.in_unit(row.ci_half_width), fmt=mark.marker, color=mark.colour,
            markersize=2.6, elinewidth=0.9, markeredgewidth=0.4, clip_on=False,
            label=kind_name(row.learns_from) if row.learns_from in marks else "",
        )  # fmt: skip
    draw_references(axes, table, references_at(table, tap))


def draw_references(axes: Axes, table: Table, references: Sequence[Reference]) -> None:
    """Draw a labelled line per reference; one outside the axis is an arrow with its value.

    The labels are above the methods, each in a row of its own.
    """
    left, right = axes.get_xlim()
    for place, (role, label, value, half_width) in enumerate(references):
        colour, dashes = REFERENCE_STYLES[role]
        row, inside = -1 - place, left <= value <= right
        if inside:
            name = f"{role}: {label}" if label else ""
            axes.axvline(value, color=colour, linestyle=dashes, linewidth=0.9, zorder=1.5, label=name)
            if not math.isnan(half_width):
                axes.axvspan(value - half_width, value + half_width, color=colour, alpha=0.12, linewidth=0)
        number = table.format_number(value / table.in_unit(1.0))
        text = role if inside else f"← {role} {number}" if value < left else f"{role} {number} →"
        at_left = value < (left + right) / 2
        axes.annotate(
            text, (min(max(value, left), right), row), (2 if at_left else -2, 0), textcoords="offset points",
            ha="left" if at_left else "right", va="center", fontsize=SMALL_TEXT, color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.2},
        )  # fmt: skip


def published_numbers(table: Table, rows: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(label, tap) -> the published number of a row, in the unit of the table; empty if no method has one."""
    row: Any
    found = {}
    for row in rows[rows["role"] == ""].itertuples():
        value = table.reference(row)
        if value is not None:
            found[row.label, row.tap] = table.in_unit(value)
    return found


def draw_published(
    axes: Axes, table: Table, names: Sequence[str], published: dict[tuple[str, str], float], width: float
) -> None:
    """Draw published numbers as diamonds, those of the headline tap filled and dark, on an axis of their own."""
    assert table.references is not None
    axes.set_facecolor("#f4f4f4")
    for tap, colour in zip(reversed(table.taps), greys(len(table.taps)), strict=True):
        at_tap = {label: value for (label, of), value in published.items() if of == tap}
        axes.plot(
            list(at_tap.values()), [names.index(label) for label in at_tap], "d", markersize=3.6, color=colour,
            markerfacecolor=colour if tap == table.headline_tap else "white", markeredgewidth=0.7, zorder=3,
            label=f"published, {tap}" if at_tap and len(table.taps) > 1 else "",
        )  # fmt: skip
    axes.margins(x=0.15)
    setting = table.references.setting
    taps = "" if " at " in setting else ", ".join(tap for tap in table.taps if any(of == tap for _, of in published))
    parts = [table.heading, "published", f"at {taps}" if taps else ""]
    axes.set_xlabel("\n".join(wrap_text(part, width) for part in parts if part))
    # The title may be wider than the panel: what is at its left is shorter.
    title = wrap_text(f"published: {setting}", width + 0.4, SMALL_TEXT)
    axes.set_title(title, loc="right", fontsize=SMALL_TEXT, fontweight="normal")


def greys(count: int) -> Iterator[str]:
    """Colours of published numbers: dark for the headline tap, light for the taps before it."""
    for place in range(count):
        yield GREYS[min(place, len(GREYS) - 1)]
