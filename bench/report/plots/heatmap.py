"""Methods by protocols as a heat map, with the numbers written in its fields."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import COLUMN_WIDTH, SMALL_TEXT, add_title, empty_figure, save_figure, set_panel_height, wrap_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..overview import Overview

EQUAL_CONTRAST = 0.179  # the luminance from which black and white differ equally (WCAG 2, contrast ratio)
FIELD_WIDTH, FIELD_HEIGHT = 0.5, 0.135  # inches


def save_heat_map(overview: Overview, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the figure if it has at least two numbers; returns the paths."""
    if overview.values.notna().sum().sum() < 2:
        return []
    content = [overview.title, *field_texts(overview), overview.values.to_csv(), overview.roles]
    name = f"heatmap-{overview.name.partition('-')[2]}"
    return save_figure(name, content, lambda: draw_heat_map(overview), folder, formats)


def draw_heat_map(overview: Overview) -> Figure:
    """One field per method and column; its colour says where a number is between a column's worst and best."""
    import seaborn as sns

    headings, texts = field_texts(overview)
    names = [f"{label} ({role})" if (role := overview.roles[label]) else label for label in overview.labels]
    width = max(COLUMN_WIDTH, 0.1 + 0.052 * max(map(len, names)) + FIELD_WIDTH * len(headings))
    figure = empty_figure(width, 12)
    axes = figure.subplots()
    shaded, cividis = shades(overview), sns.color_palette("cividis", as_cmap=True)
    sns.heatmap(
        shaded, ax=axes, cmap=cividis, vmin=0, vmax=1, annot=np.array(texts), fmt="", linewidths=0.6,
        annot_kws={"fontsize": SMALL_TEXT}, cbar=False,
    )  # fmt: skip
    for text in axes.texts:  # black or white, whichever differs more from the field
        column, row = (int(place) for place in text.get_position())
        text.set_color("black" if luminance(cividis(shaded[row, column])) > EQUAL_CONTRAST else "white")
    axes.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0)
    axes.set_xticks(np.arange(len(headings)) + 0.5, headings, rotation=0)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_facecolor("#eeeeee")  # fields without a number
    metric = f"{overview.columns[0].table.heading}; " if has_one_metric(overview) else ""
    caption = f"{metric}colour: from the worst (dark) to the best (light) of each column"
    axes.set(xlabel=wrap_text(caption, width - 0.052 * max(map(len, names))), ylabel="methods, best first")
    add_title(figure, overview.title)
    set_panel_height(figure, FIELD_HEIGHT * len(names))
    return figure


def luminance(colour: Sequence[float]) -> float:
    """The relative luminance of red, green and blue (0 to 1), as WCAG 2 defines it."""
    red, green, blue = ((c + 0.055) ** 2.4 / 1.055**2.4 if c > 0.04045 else c / 12.92 for c in colour[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def has_one_metric(overview: Overview) -> bool:
    """Whether all columns show the same metric, so that it is named once."""
    return len({column.table.heading for column in overview.columns}) == 1


def field_texts(overview: Overview) -> tuple[list[str], list[list[str]]]:
    """The headings of the columns, in lines, and the number in each field."""
    headings = []
    for column in overview.columns:
        metric = "" if has_one_metric(overview) else column.table.heading
        parts = [*column.heading.split(", "), column.tap, *metric.split(", ")]
        headings.append("\n".join(wrap_text(part, FIELD_WIDTH, SMALL_TEXT) for part in parts if part))
    texts = [
        [
            column.table.format_number(column.cells[label].mean if label in column.cells else None)
            for column in overview.columns
        ]
        for label in overview.labels
    ]
    return headings, [["" if text == "-" else text for text in row] for row in texts]


def shades(overview: Overview) -> np.ndarray:
    """Labels by columns: 0 for the worst number of a column and 1 for its best; NaN where there is no number."""
    merits = overview.values.to_numpy() * [1 if column.table.higher_is_better else -1 for column in overview.columns]
    shaded = np.full_like(merits, math.nan)
    for at, column in enumerate(merits.T):
        known = ~np.isnan(column)
        if known.any():
            low, high = column[known].min(), column[known].max()
            shaded[known, at] = (column[known] - low) / (high - low) if high > low else 1.0
    return shaded
