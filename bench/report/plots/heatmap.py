"""Methods by protocols as a heat map, with the numbers written in its fields."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from . import add_title, empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..overview import Overview


def save_heat_map(overview: Overview, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the figure of the columns in percent if they hold at least two numbers; returns the paths."""
    columns = [column.table.in_percent for column in overview.columns]
    values = overview.values.loc[:, columns]
    if values.notna().sum().sum() < 2:
        return []
    content = [overview.title, values.to_csv()]
    name = f"heatmap-{overview.name.partition('-')[2]}"
    return save_figure(name, content, lambda: draw_heat_map(overview, columns), folder, formats)


def draw_heat_map(overview: Overview, columns: list[bool]) -> Figure:
    """One field per method and column, with floor and ceiling in the top rows."""
    import seaborn as sns

    values = overview.values.loc[:, columns]
    figure = empty_figure(2.8 + 0.95 * values.shape[1], 1.6 + 0.34 * values.shape[0])
    axes = figure.subplots()
    names = [f"{label} ({role})" if (role := overview.roles[label]) else label for label in values.index]
    sns.heatmap(
        values.set_axis(names), ax=axes, cmap="cividis", annot=True, fmt=".1f", linewidths=1, annot_kws={"fontsize": 9},
        cbar_kws={"label": "accuracy (%)", "shrink": 0.8},
    )  # fmt: skip
    axes.set_xticks(axes.get_xticks(), [heading.replace(" ", "\n") for heading in values.columns], rotation=0)
    axes.tick_params(axis="y", rotation=0, length=0)
    axes.tick_params(axis="x", length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_facecolor("#eeeeee")  # fields without a number
    references = sum(bool(role) for role in overview.roles.values())
    if references:
        axes.axhline(references, color="white", linewidth=5)
    add_title(figure, overview.title)
    return figure
