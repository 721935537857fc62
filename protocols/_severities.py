"""The figure of a protocol that measures accuracy at several severities of several corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sslbench import row_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

NAMED = 6  # methods that have a colour and a place in the legend, the best ones; the others are grey


def draw_severities(measured: DataFrame, headline: str, corruptions: Sequence[str], figure: Figure) -> None:
    """Accuracy at the last tap over severity, 0 for clean pictures: a panel per corruption, a line per method.

    The metrics are "clean_accuracy" and "accuracy_CORRUPTION_SEVERITY".
    """
    import seaborn as sns

    last = measured.loc[measured["metric"] == headline, "tap"].iloc[-1]
    at_tap = measured[(measured["tap"] == last) & measured["mean"].notna()]
    means = at_tap.pivot(index="label", columns="metric", values="mean")
    roles = at_tap.groupby("label")["role"].first()
    order = at_tap.loc[at_tap["metric"] == headline, "label"].tolist()  # the best first
    named = [label for label in order if not roles[label]][:NAMED]
    colours = dict(zip(named, sns.color_palette("colorblind", NAMED), strict=False))
    figure.set_size_inches(7, 2.6)
    panels = figure.subplots(1, len(corruptions), sharey=True)
    for axes, name in zip(panels, corruptions, strict=True):
        prefix = f"accuracy_{name}_"
        severities = sorted(int(metric.removeprefix(prefix)) for metric in means if metric.startswith(prefix))
        columns = ["clean_accuracy", *(f"{prefix}{severity}" for severity in severities)]
        for label in reversed(order):
            style: dict[str, Any] = {"color": "#cccccc", "linewidth": 0.7}
            if label in colours:
                style = {"color": colours[label], "linewidth": 1.2, "label": label}
            elif roles[label]:
                dashes = "--" if roles[label] == "floor" else "-."
                style = {"color": "black", "linewidth": 1, "linestyle": dashes, "label": row_name(label, roles[label])}
            axes.plot([0, *severities], 100 * means.loc[label, columns], **style)
        axes.set(title=name, xlabel="severity", xticks=[0, *severities])
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        sns.despine(ax=axes)
    panels[0].set(ylabel=f"accuracy at {last} (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=4, frameon=False)
