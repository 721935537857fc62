"""The figure of a table: a panel per tap and a bar per method.

Floor and ceiling are lines across the bars. A protocol that draws its own figure replaces this one.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import TEXT_COLOUR, add_grid_lines, add_title, empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table


def save_bars(table: Table, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the table's figure if the table has any number; returns the paths."""
    if table.rows["mean"].isna().all():
        return []
    custom = [table.custom.measured.to_csv(), *source_code_of(table.custom.protocol.plot)] if table.custom else []
    content = [
        table.title,
        table.rows.drop(columns=["flops", "seconds", "learns_from"]).to_csv(),
        repr(table.references),
        *custom,
    ]
    return save_figure(table.name, content, lambda: draw_with_protocol(table) or draw_bars(table), folder, formats)


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


def draw_bars(table: Table) -> Figure:
    """A row of panels that share the axis with the names of the methods."""
    methods = table.rows[table.rows["role"] == ""]
    bars = methods if len(methods) else table.rows
    height = 1.5 + 0.42 * bars["label"].nunique()
    figure = empty_figure(2.2 + 3.1 * len(table.taps), height)
    panels = figure.subplots(1, len(table.taps), sharex=True, sharey=True, squeeze=False)[0]
    for axes, tap in zip(panels, table.taps, strict=True):
        draw_panel(axes, table, bars[bars["tap"] == tap], tap)
    if table.in_percent:  # only now: a limit stops the axis, which all panels share, from growing with the data
        panels[0].set_xlim(right=min(panels[0].get_xlim()[1], table.in_unit(1.0)))
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.get_layout_engine().set(w_pad=0.1, wspace=0.02)  # type: ignore[union-attr,call-arg]
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    add_title(figure, table.title)
    return figure


def draw_panel(axes: Axes, table: Table, bars: Any, tap: str) -> None:
    """Draw one tap: bars with intervals, floor and ceiling as lines, published numbers as hollow marks."""
    import seaborn as sns

    blue, orange, green = (sns.color_palette("colorblind")[place] for place in (0, 1, 2))
    means, halves = (bars[name].map(table.in_unit) for name in ("mean", "ci_half_width"))
    places = range(len(bars))
    sns.barplot(
        x=means.fillna(0).to_numpy(),
        y=bars["label"].to_numpy(),
        ax=axes,
        color=blue,
        saturation=1,
        width=0.62,
        errorbar=None,
    )
    axes.errorbar(
        means, places, xerr=halves, fmt="none", ecolor=TEXT_COLOUR, elinewidth=1.2, capsize=3, label="95 % interval"
    )
    row: Any
    for role, colour, dashes in (("floor", orange, "--"), ("ceiling", green, "-.")):
        for row in table.rows[(table.rows["role"] == role) & (table.rows["tap"] == tap)].itertuples():
            value, half = table.in_unit(row.mean), table.in_unit(row.ci_half_width)
            axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.6, label=f"{row.label} ({role})")
            if half == half:
                axes.axvspan(value - half, value + half, color=colour, alpha=0.15, linewidth=0)
    for place, row in zip(places, bars.itertuples(), strict=True):
        text, published = table.mean_text(row), table.reference(row)
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", color=TEXT_COLOUR)
        if table.references and published is not None:
            axes.plot(
                table.in_unit(published), place, "D", markersize=6, markerfacecolor="white",
                markeredgecolor=TEXT_COLOUR, linestyle="none", zorder=5,
                label=f"published ({table.references.setting})",
            )  # fmt: skip
    axes.set(title=tap, xlabel=table.heading, ylabel="")
    add_grid_lines(axes, "x")
