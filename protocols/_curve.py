"""The table, the notes and the figure of ``fewlabels``: accuracy over labels per class.

Each method has a row, and a curve, for each way of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sslbench import TableCell, accuracy_cell, as_percent, format_number, row_name

from ._sweep import join_words, readable_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

WAYS = {"frozen": "frozen", "tuned": "fine-tuned", "scratch": "from scratch"}
PUBLISHED = {"convolutional classifier": "frozen", "fine-tuned": "tuned", "from scratch": "scratch"}
FEWEST_PASSES = 10  # a training that saw each labelled image fewer times is starved: more views would change its result
STARVED = "†"
COMMON_SHARES = (0.01, 0.1, 1.0)  # shares of train by which papers name a subset
GREY = "#555555"
MARKERS = "os^v"  # distinguish lines where there are more than ten colours


def curve_points(measured: DataFrame) -> DataFrame:
    """The rows with the accuracy of one way and number of labels.

    Columns ``way``, ``labels`` (per class) and ``starved`` are added: whether a training saw each labelled image fewer
    than `FEWEST_PASSES` times, by the protocol card in ``measured.attrs``.
    """
    names = measured["metric"].str.extract(r"^accuracy_(?P<way>[a-z]+)_(?P<labels>[\d.e+]+)$")
    found = measured.join(names).dropna(subset=["labels"]).astype({"labels": float})
    images = labelled_images(measured)
    needed = found["labels"].map(lambda labels: FEWEST_PASSES * images.get(labels, 0))
    views = measured.attrs.get("card", {}).get("views", math.inf)
    found["starved"] = (found["way"] != "frozen") & found["mean"].notna() & (needed > views)
    return found.sort_values("labels", kind="stable")


def labelled_images(measured: DataFrame) -> dict[float, int]:
    """Labels per class -> number of labelled images; empty if the protocol card is not known."""
    shares = measured[measured["metric"].str.startswith("share_")].groupby("metric")["mean"].first()
    total = measured.attrs.get("card", {}).get("train_images", 0)
    return {float(str(name).removeprefix("share_")): round(share * total) for name, share in shares.items()}


def without_repeated_scratch(curve: DataFrame) -> DataFrame:
    """The points, with equal results of training from scratch only once.

    They are equal for all methods whose encoder receives the same input. If there is only one, it gets no label.
    """
    scratch = curve["way"] == "scratch"
    # Methods come before floor and ceiling, which are not ranked.
    measured = curve[scratch & curve["mean"].notna()].sort_values("role", kind="stable")
    different = measured.groupby("label", sort=False)["mean"].agg(tuple).drop_duplicates()
    curve = curve[~scratch | curve["label"].isin(different.index)]
    if len(different) == 1:
        curve = curve.assign(**{name: curve[name].mask(curve["way"] == "scratch", "") for name in ("label", "role")})
    return curve


def label_counts(measured: DataFrame) -> Series:
    """The labels per class of each row that the table shows; missing for the other rows."""
    return without_repeated_scratch(curve_points(measured))["labels"].reindex(measured.index)


def build_tables(measured: DataFrame, published: DataFrame) -> list[DataFrame]:
    """A table with a row per way, tap and method, and a column per number of labels; then the published numbers."""
    import pandas as pd

    curve, lines = without_repeated_scratch(curve_points(measured)), []
    share: dict[Any, float] = measured.groupby("metric")["mean"].first().to_dict()
    names = {labels: f"{labels:g}" for labels in curve["labels"].unique()}
    shares = {labels: share.get(f"share_{name}", 0.0) for labels, name in names.items()}
    for way, way_name in WAYS.items():
        for (tap, label), rows in curve[curve["way"] == way].groupby(["tap", "label"], sort=False):
            line: dict[str, str | TableCell] = {
                "way": way_name,
                "method": row_name(str(label), rows["role"].iloc[0]) or "any",
            }
            line |= {"tap": str(tap)} if curve["tap"].nunique() > 1 else {}
            row: Any
            for row in rows.itertuples():
                percentage = f" ({shares[row.labels]:.0%})" if shares[row.labels] in COMMON_SHARES else ""
                cell = accuracy_cell(row)
                text = f"{cell.text} {STARVED}" if row.starved else cell.text
                line[names[row.labels] + percentage] = replace(cell, text=text)
            lines.append(line)
    return [pd.DataFrame(lines), *([published_table(published)] if len(published) else [])]


def published_table(published: DataFrame) -> DataFrame:
    """A row per method and protocol of a paper, a column per number or share of labels."""
    rows: dict[str, dict[str, str]] = {}
    for row in published.to_dict("records"):
        source = ", ".join(str(row[name]) for name in ("label", "dataset", "encoder", "protocol"))
        rows.setdefault(source, {"published": source})[row["setting"].rpartition("=")[2]] = as_percent(row["value"])
    order = sorted({n for row in rows.values() for n in row} - {"published"}, key=lambda n: (n[-1] == "%", len(n), n))
    return type(published)(rows.values(), columns=["published", *order]).fillna("-")


def marks_note(measured: DataFrame) -> list[str]:
    """What the marks compare, if there are any."""
    return ["best and ≈ within a number of labels, over all ways"] if measured["rank"].notna().any() else []


def gain_notes(measured: DataFrame) -> list[str]:
    """How much each fine-tuned method gains over training from scratch, with the fewest and with the most labels.

    Starved trainings are left out.
    """
    sentences = []
    curve = curve_points(measured)
    curve = curve[~curve["starved"] & (curve["way"] != "frozen")]
    for (label, tap), rows in curve.groupby(["label", "tap"], sort=False):
        gain = rows.pivot(index="labels", columns="way", values="mean")
        if {"tuned", "scratch"} <= set(gain) and rows["role"].iloc[0] != "floor" and not gain.isna().any(axis=None):
            shares = gain["tuned"] - gain["scratch"]
            ends = (shares.index.min(), shares.index.max())
            parts = dict.fromkeys(
                f"{format_number(shares[n], sign='+')} points with {n:g} labels per class" for n in ends
            )
            sentences.append(f"{label} at {tap}, fine-tuned compared to from scratch: {', '.join(parts)}")
    return sentences


def starved_notes(measured: DataFrame, card: dict[str, Any]) -> list[str]:
    """What the mark of starved trainings means, if there are any, and how far they are from a fair comparison."""
    curve = curve_points(measured)
    starved, images = curve[curve["starved"]], labelled_images(measured)
    if starved.empty:
        return []
    counts = starved["labels"].unique()
    trained = [name for way, name in WAYS.items() if (starved["way"] == way).any()]
    frozen = "; frozen used all of them, which alone may explain a lead" if (curve["way"] == "frozen").any() else ""
    return [
        f"{STARVED}: starved. {join_words(trained)} with {join_words([f'{n:g}' for n in counts])} labels per class: "
        f"{card['views']:,} views are fewer than {FEWEST_PASSES} of each of the "
        f"{join_words([f'{images[n]:,}' for n in counts])} labelled images{frozen}"
    ]


def draw_curves(measured: DataFrame, published: DataFrame, figure: Figure) -> None:
    """A panel for frozen and one for fine-tuned encoders; both also show training from scratch.

    Published numbers are below, since they were measured on other data and with other encoders.
    """
    import seaborn as sns

    curve = without_repeated_scratch(curve_points(measured))
    panels = [way for way in ("frozen", "tuned") if (curve["way"] == way).any()] or ["scratch"]
    labels = curve.loc[curve["way"] != "scratch", "label"].unique()
    palette = sns.color_palette("colorblind")
    colours = {label: palette[i % len(palette)] for i, label in enumerate(labels)}
    markers = {label: MARKERS[i // len(palette) % len(MARKERS)] for i, label in enumerate(labels)}
    taps, classes = curve["tap"].unique(), measured.attrs.get("card", {}).get("classes")
    per_class = f"labels per class, {classes} classes" if classes else "labels per class"
    references = published_curves(published)
    figure.set_size_inches(max(3.4, 1 + 1.2 * len(panels)), 2.5 + 1.7 * len(references))
    grid = figure.add_gridspec(1 + len(references), len(panels))
    shared = None
    for place, way in enumerate(panels):
        axes = shared = figure.add_subplot(grid[0, place], sharey=shared)
        for (label, tap), rows in curve[curve["way"] == way].groupby(["label", "tap"], sort=False):
            name = f"{label}, {tap}" if len(taps) > 1 else str(label)
            draw_line(axes, rows, colours[label], name, f"-{markers[label]}")
        for (label, _), rows in curve[curve["way"] == "scratch"].groupby(["label", "tap"], sort=False):
            draw_line(axes, rows, GREY, f"from scratch {label}".strip(), "--o")
        set_log_axis(axes, curve["labels"], per_class, 24)
        tap = f" at {taps[0]}" if len(taps) == 1 else ""
        axes.set(title=WAYS[way], ylabel=f"accuracy (%){tap}" if place == 0 else "")
        axes.tick_params(axis="y", labelleft=place == 0)
    add_legend(figure, figure.axes)
    for place, (setting, rows) in enumerate(references.items()):
        draw_published(figure.add_subplot(grid[1 + place, :]), setting, rows, colours)


def set_log_axis(axes: Axes, counts: Iterable[float], name: str, digits: int) -> None:
    """A log axis of numbers of labels with a tick at each number, as far as there is room for so many digits."""
    import seaborn as sns

    ticks = readable_ticks(sorted(set(counts)), digits)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{n:g}" for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel(name)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def add_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """The names of all lines of some panels, each once, below the figure."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    columns = 2 if max(map(len, handles), default=0) > 18 else 3
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)


def draw_line(axes: Axes, rows: DataFrame, colour: Any, name: str, style: str) -> None:
    """One curve, with the confidence interval of each of its points; starved points are hollow and not joined."""
    starved = rows[rows["starved"]]
    if len(starved):
        hollow: dict[str, Any] = {
            "markerfacecolor": "white",
            "markersize": 2.6,
            "markeredgewidth": 0.7,
            "linestyle": "none",
        }
        label = f"starved: under {FEWEST_PASSES} views per image"
        axes.plot(starved["labels"], 100 * starved["mean"], style[-1], color=colour, label=label, **hollow)
    rows = rows[~rows["starved"]]
    labels, mean, half = (rows[column].to_numpy() for column in ("labels", "mean", "ci_half_width"))
    axes.plot(labels, 100 * mean, style, color=colour, markersize=2.6, linewidth=1, label=name)
    axes.fill_between(labels, 100 * (mean - half), 100 * (mean + half), color=colour, alpha=0.15, linewidth=0)


def published_curves(published: DataFrame) -> dict[str, DataFrame]:
    """Data and encoder -> the published accuracies that name their labels per class, in column ``labels``."""
    rows = published[published["setting"].str.startswith("labels_per_class=")]
    rows = rows.assign(labels=rows["setting"].str.removeprefix("labels_per_class=").astype(float))
    return {", ".join(map(str, names)): part for names, part in rows.groupby(["dataset", "encoder"], sort=False)}


def draw_published(axes: Axes, setting: str, published: DataFrame, colours: dict[str, Any]) -> None:
    """A panel of published numbers: a line per classifier, in the colour of its method where it was measured here."""
    styles = iter(("-d", "--d", ":d", "-.d") * len(published))
    for names, rows in published.groupby(["method", "label", "protocol"], sort=False):
        method, label, protocol = map(str, names)
        colour = GREY if PUBLISHED.get(protocol) == "scratch" else colours.get(method, "#000000")
        rows = rows.sort_values("labels")
        style: dict[str, Any] = {"color": colour, "linewidth": 0.9, "markersize": 3.5, "markerfacecolor": "white"}
        axes.plot(rows["labels"], 100 * rows["value"], next(styles), label=f"{label}, {protocol}", **style)
    set_log_axis(axes, published["labels"], f"labels per class of {setting.partition(',')[0]}", 40)
    axes.set_facecolor("#f4f4f4")
    axes.set(title=f"published: {setting}", ylabel="accuracy (%), published", ylim=(0, 100))  # with room for a legend
    axes.legend(loc="best", frameon=False)
