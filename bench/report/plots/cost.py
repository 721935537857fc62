"""Accuracy against the cost of pretraining: a point per method, and the Pareto front of each kind of method.

The cost is counted in FLOPs. Seconds are shown too if all methods were pretrained on one device with the same precision
and number of threads; they have no front, since what else ran on the machine changes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import (
    COLUMN_WIDTH,
    REFERENCE_STYLES,
    TEXT_COLOUR,
    add_grid_lines,
    add_legend,
    add_title,
    apply_layout,
    axis_label,
    empty_figure,
    number_of_labels,
    save_figure,
    set_panel_height,
)
from .kinds import Mark, kind_name, marks_of
from .labels import FREE, GAP, place_labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table

COSTS = {"flops": "pretraining (FLOPs)", "seconds": "pretraining (seconds)"}

NAME_SIZE = 6  # points
HEIGHT_PER_NAME = 0.1  # inches, at least
HEIGHTS = (2.4, 2.8, 3.3, 4.0, 5.0, 6.5, 9.0)  # inches of a panel; the first in which all names have room is taken


def save_cost(table: Table, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the figure if at least two methods have a cost of pretraining; returns the paths."""
    rows = table.rows[table.rows["mean"].notna()]
    if rows.loc[(rows["role"] == "") & (rows["flops"] > 0), "label"].nunique() < 2:
        return []
    shown = ["label", "tap", "role", "learns_from", "mean", "ci_half_width", *costs_to_show(table)]
    labels = number_of_labels(table, table.headline_tap)
    content = [table.title, labels, rows.loc[rows["tap"] == table.headline_tap, shown].to_csv()]
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
    """A panel per kind of cost, at the headline tap; as high as the names of the methods need."""
    rows = rows[rows["tap"] == table.headline_tap]
    least = HEIGHT_PER_NAME * rows["label"].nunique()
    for height in (height for height in HEIGHTS if height >= least or height == HEIGHTS[-1]):
        figure = draw_panels(table, rows, height)
        costs = zip(figure.axes, costs_to_show(table), strict=True)
        if all(label_points(axes, table, rows, cost) for axes, cost in costs):
            break
    return figure


def draw_panels(table: Table, rows: pd.DataFrame, height: float) -> Figure:
    """The panels without the names of the points; the height is that of a panel in inches."""
    costs = costs_to_show(table)
    figure = empty_figure(COLUMN_WIDTH * len(costs), height)
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for cost, axes in zip(costs, panels, strict=True):
        draw_panel(axes, table, rows, cost)
        axes.set_xlabel(COSTS[cost])
    panels[0].set_ylabel(axis_label(table, table.headline_tap, height))
    add_legend(figure, panels, "95 % interval")
    add_title(figure, table.title)
    set_panel_height(figure, height)
    apply_layout(figure)
    return figure


def draw_panel(axes: Axes, table: Table, rows: pd.DataFrame, cost: str) -> None:
    """Draw points with intervals, the floor as a line and the Pareto front of FLOPs as steps."""
    points = rows[(rows["role"] != "floor") & (rows[cost] > 0)]
    marks = marks_of(rows.loc[rows["role"] == "", "learns_from"])
    row: Any
    for row in points.itertuples():
        mark = marks[row.learns_from] if not row.role else Mark(REFERENCE_STYLES["ceiling"][0], "*")
        axes.errorbar(
            getattr(row, cost), table.in_unit(row.mean), yerr=table.in_unit(row.ci_half_width), fmt=mark.marker,
            color=mark.colour, markersize=3.2, elinewidth=0.5, markeredgewidth=0.4,
            label=kind_name(row.learns_from) if not row.role else row.role,
        )  # fmt: skip
    colour, dashes = REFERENCE_STYLES["floor"]
    for row in rows[rows["role"] == "floor"].itertuples():
        name = f"floor: {row.label}"
        axes.axhline(table.in_unit(row.mean), color=colour, linestyle=dashes, linewidth=0.9, label=name, zorder=1.5)
    methods = points[points["role"] == ""]
    for kind, alike in methods.groupby("learns_from") if cost == "flops" else ():
        best = pareto_front(zip(alike[cost], alike["mean"].map(table.in_unit), strict=True), table.higher_is_better)
        name = "Pareto front" if methods["learns_from"].nunique() == 1 else f"Pareto front, {kind_name(str(kind))}"
        if len(best) > 1:
            steps: tuple[Any, ...] = tuple(zip(*best, strict=True))
            axes.step(*steps, where="post", linewidth=0.8, alpha=0.6, color=marks[str(kind)].colour, label=name)
    set_cost_axis(axes, points[cost].min(), points[cost].max())
    add_grid_lines(axes, "both")
    axes.margins(y=0.06)


def set_cost_axis(axes: Axes, least: float, most: float) -> None:
    """A log axis with room for names at both sides and at least two numbers."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

    spread = max(1.5, most / least)
    low, high = least * spread**-0.25, most * spread**0.35
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    locator = (
        LogLocator()
        if high / low > 1000
        else LogLocator(subs=(1, 3))
        if high / low > 10
        else MaxNLocator(5, steps=[1, 2, 5, 10])
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def pareto_front(points: Iterable[tuple[float, float]], higher_is_better: bool = True) -> list[tuple[float, float]]:
    """The (cost, value) points with no better value at the same cost or less, the cheapest first."""
    sign = 1 if higher_is_better else -1
    best: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not best or sign * value > sign * best[-1][1]:
            best.append((cost, value))
    return best


def label_points(axes: Axes, table: Table, rows: pd.DataFrame, cost: str) -> bool:
    """Write each method's name near its point; returns False, and writes none, if there is no room for all.

    Needs the layout to be applied (see ``apply_layout``), since distances depend on it.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    methods = rows[(rows["role"] != "floor") & (rows[cost] > 0)].sort_values([cost, "mean", "label"])
    means, halves = (methods[name].map(table.in_unit).to_numpy() for name in ("mean", "ci_half_width"))
    to_points = 72 / figure.dpi

    def in_points(x: Any, y: Any) -> np.ndarray:
        return np.asarray(axes.transData.transform(np.stack([x, y], axis=1)) * to_points)

    points, halves = in_points(methods[cost], means), np.nan_to_num(halves)
    lines = [
        np.concatenate([in_points(methods[cost], means - halves), in_points(methods[cost], means + halves)], axis=1)
    ]
    for drawn in axes.lines:  # floor and fronts
        path = np.asarray(drawn.get_transform().transform(drawn.get_path().vertices)) * to_points  # as it was drawn
        corners = np.stack([path[1:, 0], path[:-1, 1]], axis=1)  # of steps
        lines += [np.concatenate([path[:-1], corners], axis=1), np.concatenate([corners, path[1:]], axis=1)]
    sizes = np.array([text_size(label) for label in methods["label"]])
    area = axes.get_window_extent().get_points().ravel() * to_points + [1, 1, -1, -1]
    boxes = place_labels(points, sizes, area, np.concatenate(lines))
    if boxes is None:
        return False
    values = zip(methods["label"], methods[cost], means, points, boxes, strict=True)
    for label, x, y, point, box in values:
        at_right = box[0] > point[0]
        offset = np.array([box[0 if at_right else 2], (box[1] + box[3]) / 2]) - point
        line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1.5}
        line["relpos"] = (0 if at_right else 1, 0.5)
        far = np.hypot(abs(offset[0]) - GAP, offset[1]) > FREE
        axes.annotate(
            label, (x, y), tuple(offset), textcoords="offset points", ha="left" if at_right else "right", va="center",
            fontsize=NAME_SIZE, color=TEXT_COLOUR, arrowprops=line if far else None,
        )  # fmt: skip
    return True


def text_size(text: str) -> tuple[float, float]:
    """Width and height of a name in points."""
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=NAME_SIZE).get_extents().width + 1, NAME_SIZE * 1.15
