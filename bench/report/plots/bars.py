"""The figure of a table: the protocol's own, or a panel per tap, a bar per method, floor and ceiling across."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import TEXT, canvas, ruled, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table


def save_bars(table: Table, folder: Path, formats: Collection[str]) -> list[Path]:
    """Writes the table's figure where it has a number; returns the paths."""
    if table.rows["mean"].isna().all():
        return []
    own = [table.own.measured.to_csv(), *sources(table.own.protocol.plot)] if table.own else []
    shows = [table.title, table.rows.drop(columns=["flops", "seconds"]).to_csv(), repr(table.beside), *own]
    return save(table.name, shows, lambda: drawn_by_protocol(table) or draw(table), folder, formats)


def sources(plot: Any) -> list[str]:
    """How a protocol draws, as text: its method, and the modules and functions that this one names."""
    named = [plot.__globals__.get(name) for name in plot.__code__.co_names]
    return [inspect.getsource(part) for part in (plot, *named) if inspect.ismodule(part) or inspect.isroutine(part)]


def drawn_by_protocol(table: Table) -> Figure | None:
    """The figure that the table's protocol draws, if it draws one."""
    figure = canvas(6.4, 4.8)
    if table.own:
        table.own.protocol.plot(table.own.measured, table.own.published, figure)
    if not figure.axes:
        return None
    title(figure, table.title)
    return figure


def draw(table: Table) -> Figure:
    """The panels side by side, sharing the methods' names."""
    rivals = table.rows[table.rows["role"] == ""]
    bars = rivals if len(rivals) else table.rows
    height = 1.5 + 0.42 * bars["label"].nunique()
    figure = canvas(2.2 + 3.1 * len(table.taps), height)
    panels = figure.subplots(1, len(table.taps), sharex=True, sharey=True, squeeze=False)[0]
    for axes, tap in zip(panels, table.taps, strict=True):
        draw_panel(axes, table, bars[bars["tap"] == tap], tap)
    if table.in_percent:  # once all panels are drawn: they share the axis, and a limit set ends its growth
        panels[0].set_xlim(right=min(panels[0].get_xlim()[1], table.shown(1.0)))
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.get_layout_engine().set(w_pad=0.1, wspace=0.02)  # type: ignore[union-attr,call-arg]
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    title(figure, table.title)
    return figure


def draw_panel(axes: Axes, table: Table, bars: Any, tap: str) -> None:
    """One tap: bars with intervals, floor and ceiling as lines, published numbers as hollow marks."""
    import seaborn as sns

    blue, orange, green = (sns.color_palette("colorblind")[place] for place in (0, 1, 2))
    means, halves = (bars[name].map(table.shown) for name in ("mean", "half"))
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
    axes.errorbar(means, places, xerr=halves, fmt="none", ecolor=TEXT, elinewidth=1.2, capsize=3, label="95 % interval")
    row: Any
    for role, colour, dashes in (("floor", orange, "--"), ("ceiling", green, "-.")):
        for row in table.rows[(table.rows["role"] == role) & (table.rows["tap"] == tap)].itertuples():
            value, half = table.shown(row.mean), table.shown(row.half)
            axes.axvline(value, color=colour, linestyle=dashes, linewidth=1.6, label=f"{row.label} ({role})")
            if half == half:
                axes.axvspan(value - half, value + half, color=colour, alpha=0.15, linewidth=0)
    for place, row in zip(places, bars.itertuples(), strict=True):
        axes.text(1.02, place, table.printed(row), transform=axes.get_yaxis_transform(), va="center", color=TEXT)
        published = table.published(row)
        if table.beside and published is not None:
            axes.plot(
                table.shown(published), place, "D", markersize=6, markerfacecolor="white", markeredgecolor=TEXT,
                linestyle="none", label=f"published ({table.beside.setting})", zorder=5,
            )  # fmt: skip
    axes.set(title=tap, xlabel=table.heading, ylabel="")
    ruled(axes, "x")
