"""Critical difference diagram: the methods' mean ranks on a line (Demšar 2006, figure 1).

Bars join methods whose ranks differ by no more than the critical difference.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...statistics import critical_difference
from . import COLUMN_WIDTH, SMALL_TEXT, TEXT_COLOUR, add_title, empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..overview import Overview

STEP = 0.17  # inches between the names of two methods


def save_ranks(overview: Overview, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the figure if at least three methods have a mean rank over two data sets or more; returns the paths.

    The critical difference assumes independent columns, and those of one data set share its test images.
    """
    if len(overview.mean_ranks) < 3 or overview.datasets < 2:
        return []
    content = [overview.title, len(overview.columns), overview.mean_ranks]
    name = f"ranks-{overview.name.partition('-')[2]}"
    return save_figure(name, content, lambda: draw_ranks(overview), folder, formats)


def draw_ranks(overview: Overview) -> Figure:
    """The best rank is at the left. Half of the names are at each side, so that their lines do not cross."""
    import seaborn as sns

    blue, orange = (sns.color_palette("colorblind")[place] for place in (0, 1))
    ranked = sorted(overview.mean_ranks.items(), key=lambda item: (item[1], item[0]))
    names, ranks = [name for name, _ in ranked], [rank for _, rank in ranked]
    difference = critical_difference(len(ranks), len(overview.columns))
    groups = find_cliques(ranks, difference)
    at_left = (len(names) + 1) // 2
    below = 0.42 + 0.075 * len(groups)
    figure = empty_figure(COLUMN_WIDTH, below + STEP * at_left + 0.95)
    axes = figure.subplots()
    axes.set(xlim=(1 - 0.02 * len(ranks), len(ranks) * 1.02), ylim=(-below / STEP - at_left + 1, 3.2))
    axes.hlines(0, 1, len(ranks), color=TEXT_COLOUR, linewidth=1.2)
    for tick in range(1, len(ranks) + 1):
        axes.vlines(tick, 0, 0.3, color=TEXT_COLOUR, linewidth=1)
        axes.text(tick, 0.5, str(tick), ha="center", va="bottom", fontsize=SMALL_TEXT)
    left, right = axes.get_xlim()
    for place, (name, rank) in enumerate(ranked):
        first = place < at_left
        at = -(below / STEP) - (place if first else len(names) - 1 - place) + 0.6
        edge, side = (left, "right") if first else (right, "left")
        axes.plot([rank, rank, edge], [0, at, at], color=TEXT_COLOUR, linewidth=0.8, alpha=0.7)
        axes.plot(rank, 0, "o", color=blue, markersize=3, zorder=3)
        text = f"{name}  {rank:.2f}" if first else f"{rank:.2f}  {name}"
        axes.text(edge, at, f"{text} " if first else f" {text}", ha=side, va="center", fontsize=SMALL_TEXT)
    for place, (start, end) in enumerate(groups):
        axes.hlines(-0.55 - 0.45 * place, start - 0.04, end + 0.04, color=orange, linewidth=2.5)
    shown = min(difference, len(ranks) - 1)
    axes.errorbar(1 + shown / 2, 2.1, xerr=shown / 2, color=TEXT_COLOUR, capsize=3, linewidth=1)
    axes.text(
        1,
        2.6,
        f"critical difference {difference:.2f} (Nemenyi, 5 %, {len(overview.columns)} columns)",
        fontsize=SMALL_TEXT,
    )
    axes.axis("off")
    add_title(figure, overview.title.replace("methods by protocols", "mean rank over protocols and taps", 1))
    return figure


def find_cliques(ranks: Sequence[float], difference: float) -> list[tuple[float, float]]:
    """The longest runs of sorted ranks that span at most the difference, each as its first and last rank."""
    runs: list[tuple[float, float]] = []
    for start in ranks:
        end = max(rank for rank in ranks if rank - start <= difference)
        if end > start and (not runs or end > runs[-1][1]):
            runs.append((start, end))
    return runs
