"""Accuracy against the cost of pretraining: a point per method, and the Pareto front of each kind of method.

The cost is counted in FLOPs. Seconds are shown too if all methods were pretrained on one device with the same precision
and number of threads; they have no front, since what else ran on the machine changes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import TEXT_COLOUR, add_grid_lines, add_title, apply_layout, empty_figure, save_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table

COSTS = {"flops": "pretraining (FLOPs)", "seconds": "pretraining (seconds)"}

FRONTS_VERSION = 2
"""Increase it when the figure should look different, so that existing files are drawn again."""


def save_cost(table: Table, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the figure if at least two methods have a cost of pretraining; returns the paths."""
    rows = table.rows[table.rows["mean"].notna()]
    if rows.loc[(rows["role"] == "") & (rows["flops"] > 0), "label"].nunique() < 2:
        return []
    shown = ["label", "tap", "role", "learns_from", "mean", "ci_half_width", *costs_to_show(table)]
    content = [table.title, FRONTS_VERSION, rows[shown].to_csv()]
    return save_figure(f"cost-{table.name}", content, lambda: draw_costs(table, rows), folder, formats)


def costs_to_show(table: Table) -> list[str]:
    """FLOPs, and seconds where one machine measured all of them under the same conditions."""
    machines = {
        (record.source.device, record.source.precision, record.source.threads)
        for record in table.records
        if record.cost.pretrain_seconds
    }
    comparable = len(machines) == 1 and None not in next(iter(machines))
    return ["flops", "seconds"] if comparable else ["flops"]


def draw_costs(table: Table, rows: pd.DataFrame) -> Figure:
    """A row of panels per tap, with one panel per kind of cost."""
    costs = costs_to_show(table)
    high = max(3.4, 1 + 0.22 * rows["label"].nunique())  # room for the names
    figure = empty_figure(8 if len(costs) == 1 else 9.5, 0.8 + high * len(table.taps))
    panels = figure.subplots(len(table.taps), len(costs), sharey="row", sharex="col", squeeze=False)
    for tap, across in zip(table.taps, panels, strict=True):
        for cost, axes in zip(costs, across, strict=True):
            draw_panel(axes, table, rows[rows["tap"] == tap], cost)
            axes.set_title(tap)
        across[0].set_ylabel(table.heading)
    for cost, axes in zip(costs, panels[-1], strict=True):
        axes.set_xlabel(COSTS[cost])
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    add_title(figure, table.title)
    apply_layout(figure)
    for tap, across in zip(table.taps, panels, strict=True):
        methods = rows[(rows["role"] == "") & (rows["tap"] == tap)]
        for cost, axes in zip(costs, across, strict=True):
            points = methods[methods[cost] > 0]
            label_points(axes, points["label"], points[cost], points["mean"].map(table.in_unit))
    return figure


def draw_panel(axes: Axes, table: Table, rows: pd.DataFrame, cost: str) -> None:
    """Draw points with intervals, the floor as a line and the Pareto front of FLOPs as steps."""
    import seaborn as sns
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    blue, orange, green = (sns.color_palette("colorblind")[place] for place in (0, 1, 2))
    for colour, mark, role in ((blue, "o", ""), (green, "s", "ceiling")):
        points = rows[(rows["role"] == role) & (rows[cost] > 0)]
        if points.empty:
            continue
        name = "method" if not role else f"{points['label'].iloc[0]} ({role})"
        means, halves = points["mean"].map(table.in_unit), points["ci_half_width"].map(table.in_unit)
        axes.errorbar(
            points[cost], means, yerr=halves, fmt=mark, color=colour, ecolor=TEXT_COLOUR, elinewidth=1, label=name
        )
    row: Any
    for row in rows[rows["role"] == "floor"].itertuples():
        axes.axhline(table.in_unit(row.mean), color=orange, linestyle="--", linewidth=1.6, label=f"{row.label} (floor)")
    methods = rows[(rows["role"] == "") & (rows[cost] > 0)]
    for kind, alike in methods.groupby("learns_from") if cost == "flops" else ():
        best = pareto_front(zip(alike[cost], alike["mean"].map(table.in_unit), strict=True), table.higher_is_better)
        name = "Pareto front" if methods["learns_from"].nunique() == 1 else f"Pareto front, from {kind}"
        if len(alike) > 1:
            axes.step(*zip(*best, strict=True), where="post", linewidth=1.2, alpha=0.7, label=name)
    axes.set_xscale("log")
    trained = rows.loc[(rows[cost] > 0), cost]
    spread = max(2.0, trained.max() / trained.min())
    axes.set_xlim(trained.min() * spread**-0.12, trained.max() * spread**0.35)  # room for the names at the right
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    add_grid_lines(axes, "both")
    axes.margins(y=0.1)


def pareto_front(points: Iterable[tuple[float, float]], higher_is_better: bool = True) -> list[tuple[float, float]]:
    """The (cost, value) points with no better value at the same cost or less, the cheapest first."""
    sign = 1 if higher_is_better else -1
    best: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not best or sign * value > sign * best[-1][1]:
            best.append((cost, value))
    return best


def label_points(axes: Axes, labels: Iterable[str], xs: Iterable[float], ys: Iterable[float]) -> None:
    """Write each point's label at its right, moved up where it would cover another point or an earlier label.

    Needs the layout to be applied (see ``apply_layout``), since distances are measured in pixels.
    """
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    assert figure is not None
    points = sorted(zip(ys, xs, labels, strict=True))
    taken = [(*axes.transData.transform((x, y)), 0) for y, x, _ in points]  # left end and height of what is drawn
    for y, x, label in points:
        across, up = axes.transData.transform((x, y))
        wide, wanted = 6 * len(label) + 14, up  # pixels
        while any(-width - 8 < a - across - 5 < wide and abs(wanted - b) < 15 and a != across for a, b, width in taken):
            wanted += 2
        taken.append((across + 5, wanted, wide))
        moved = wanted > up + 12
        axes.annotate(
            label, (x, y), (8, (wanted - up) * 72 / figure.dpi), textcoords="offset points", va="center", fontsize=8,
            color=TEXT_COLOUR, path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": TEXT_COLOUR, "linewidth": 0.5, "alpha": 0.5} if moved else None,
        )  # fmt: skip
