"""Methods by protocols as a heat map: one colour scale per unit, the numbers written in."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from . import canvas, save, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..overview import Overview


def save_heat_map(overview: Overview, folder: Path, formats: Collection[str]) -> list[Path]:
    """Writes the figure of those columns that are in percent; returns the paths."""
    columns = [column.table.in_percent for column in overview.columns]
    values = overview.values.loc[:, columns]
    if values.notna().sum().sum() < 2:
        return []
    shows = [overview.title, values.to_csv()]
    return save(f"heatmap-{overview.name.partition('-')[2]}", shows, lambda: draw(overview, columns), folder, formats)


def draw(overview: Overview, columns: list[bool]) -> Figure:
    """A field per method and column, floor and ceiling on top."""
    import seaborn as sns

    values = overview.values.loc[:, columns]
    figure = canvas(2.8 + 0.95 * values.shape[1], 1.6 + 0.34 * values.shape[0])
    axes = figure.subplots()
    names = [f"{label} ({role})" if (role := overview.roles[label]) else label for label in values.index]
    sns.heatmap(
        values.set_axis(names), ax=axes, cmap="cividis", annot=True, fmt=".1f", linewidths=1, annot_kws={"fontsize": 9},
        cbar_kws={"label": "accuracy (%)", "shrink": 0.8},
    )  # fmt: skip
    axes.set_xticks(axes.get_xticks(), [heading.replace(" ", "\n") for heading in values.columns], rotation=0)
    axes.tick_params(axis="y", rotation=0, length=0)
    axes.tick_params(axis="x", length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_facecolor("#eeeeee")  # what was not measured
    rivals = sum(bool(role) for role in overview.roles.values())
    if rivals:
        axes.axhline(rivals, color="white", linewidth=5)
    title(figure, overview.title)
    return figure
