"""Few labels as a table and as a curve: accuracy over labels a class, a line for each method in each way."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

from sslbench import named, percent, shown

from ._sweep import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

WAYS = {"frozen": "frozen", "tuned": "fine-tuned", "scratch": "from scratch"}
PUBLISHED = {"convolutional classifier": "frozen", "fine-tuned": "tuned", "from scratch": "scratch"}
USUAL = (0.01, 0.1, 1.0)  # shares of train by which papers name a split
GREY = "#555555"
MARKS = "os^v"  # tell lines apart where ten colours do not


def points(measured: DataFrame) -> DataFrame:
    """The rows that are accuracies of a way at a number of labels, with ``way`` and ``labels`` a class."""
    names = measured["metric"].str.extract(r"^accuracy_(?P<way>[a-z]+)_(?P<labels>[\d.e+]+)$")
    found = measured.join(names).dropna(subset=["labels"])
    return found.astype({"labels": float}).sort_values("labels", kind="stable")


def merged(curve: DataFrame) -> DataFrame:
    """The points with from scratch only once where it is the same: it is for all methods that see the same."""
    scratch = curve["way"] == "scratch"
    # A method's own comes before that of floor and ceiling, which are not ranked.
    learnt = curve[scratch & curve["mean"].notna()].sort_values("role", kind="stable")
    different = learnt.groupby("label", sort=False)["mean"].agg(tuple).drop_duplicates()
    curve = curve[~scratch | curve["label"].isin(different.index)]
    if len(different) == 1:
        curve = curve.assign(**{name: curve[name].mask(curve["way"] == "scratch", "") for name in ("label", "role")})
    return curve


def compared(measured: DataFrame) -> Series:
    """The number of labels of each row that the table shows: methods in all ways are ranked within it."""
    return merged(points(measured))["labels"].reindex(measured.index)


def grid(measured: DataFrame, published: DataFrame) -> list[DataFrame]:
    """A row for each way, tap and method, a column for each number of labels; then what was published."""
    import pandas as pd

    curve, lines = merged(points(measured)), []
    share: dict[Any, float] = measured.groupby("metric")["mean"].first().to_dict()
    names = {labels: f"{labels:g}" for labels in curve["labels"].unique()}
    shares = {labels: share.get(f"share_{name}", 0.0) for labels, name in names.items()}
    for way, said in WAYS.items():
        for (tap, label), rows in curve[curve["way"] == way].groupby(["tap", "label"], sort=False):
            line = {"way": said, "method": named(str(label), rows["role"].iloc[0]) or "any"}
            line |= {"tap": str(tap)} if curve["tap"].nunique() > 1 else {}
            row: Any
            for row in rows.itertuples():
                usual = f" ({shares[row.labels]:.0%})" if shares[row.labels] in USUAL else ""
                line[names[row.labels] + usual] = shown(row)
            lines.append(line)
    return [pd.DataFrame(lines), *([known(published)] if len(published) else [])]


def known(published: DataFrame) -> DataFrame:
    """A row for each way of a paper, a column for each number or share of labels."""
    rows: dict[str, dict[str, str]] = {}
    for row in published.to_dict("records"):
        who = ", ".join(str(row[name]) for name in ("label", "dataset", "encoder", "protocol"))
        rows.setdefault(who, {"published": who})[row["setting"].rpartition("=")[2]] = percent(row["value"])
    order = sorted({n for row in rows.values() for n in row} - {"published"}, key=lambda n: (n[-1] == "%", len(n), n))
    return type(published)(rows.values(), columns=["published", *order]).fillna("-")


def comparison(measured: DataFrame) -> list[str]:
    """What the marks mean, where there are any."""
    return ["best and ≈ within a number of labels, over all ways"] if measured["rank"].notna().any() else []


def gains(measured: DataFrame) -> list[str]:
    """What pretraining is worth to each method, fine-tuned, with the fewest and with the most labels."""
    sentences = []
    for (label, tap), rows in points(measured).groupby(["label", "tap"], sort=False):
        gain = rows.pivot(index="labels", columns="way", values="mean")
        if {"tuned", "scratch"} <= set(gain) and rows["role"].iloc[0] != "floor" and not gain.isna().any(axis=None):
            worth = 100 * (gain["tuned"] - gain["scratch"])
            told = [f"{worth[n]:+.1f} points with {n:g} labels a class" for n in (worth.index.min(), worth.index.max())]
            sentences.append(f"{label} at {tap}, fine-tuned beside from scratch: {', '.join(dict.fromkeys(told))}")
    return sentences


def unseen(measured: DataFrame, card: dict[str, Any]) -> list[str]:
    """That a training saw only some of the labelled images, where its views are fewer than they are."""
    curve = points(measured)
    ways = set(curve["way"])
    share: dict[Any, float] = measured.groupby("metric")["mean"].first().to_dict()
    images = {f"{n:g}": round(share[f"share_{n:g}"] * card["train_images"]) for n in curve["labels"].unique()}
    many = {n: count for n, count in images.items() if count > card["views"]}
    trained = [said for way, said in WAYS.items() if way in ways and way != "frozen"]
    if not many or not trained:
        return []
    counts = listed([f"{count:,}" for count in many.values()])
    aside = "; frozen was taught by all of them, and may be ahead for that alone" if "frozen" in ways else ""
    return [
        f"{listed(trained)}: with {listed(list(many))} labels a class a training saw only about {card['views']:,} "
        f"of the {counts} labelled images{aside}"
    ]


def draw(measured: DataFrame, published: DataFrame, figure: Figure) -> None:
    """A panel for the frozen and one for the fine-tuned encoders, from scratch in both, labels on a log axis."""
    import seaborn as sns

    curve = merged(points(measured))
    panels = [way for way in ("frozen", "tuned") if (curve["way"] == way).any()] or ["scratch"]
    labels = curve.loc[curve["way"] != "scratch", "label"].unique()
    palette = sns.color_palette("colorblind")
    colours = {label: palette[at % len(palette)] for at, label in enumerate(labels)}
    marks = {label: MARKS[at // len(palette) % len(MARKS)] for at, label in enumerate(labels)}
    figure.set_size_inches(1.5 + 4.5 * len(panels), 4.8)
    for axes, way in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        for (label, tap), rows in curve[curve["way"] == way].groupby(["label", "tap"], sort=False):
            name = f"{label}, {tap}" if curve["tap"].nunique() > 1 else str(label)
            line(axes, rows, colours[label], name, f"-{marks[label]}")
        for (label, _), rows in curve[curve["way"] == "scratch"].groupby(["label", "tap"], sort=False):
            line(axes, rows, GREY, f"from scratch {label}".strip(), "--o")
        counted = published[published["setting"].str.startswith("labels_per_class=")]
        places = counted["setting"].str.removeprefix("labels_per_class=").astype(float)
        for place, (_, row) in zip(places, counted.iterrows(), strict=True):
            kind = PUBLISHED.get(row["protocol"])
            colour = GREY if kind == "scratch" else colours.get(row["method"])
            if kind in (way, "scratch") and colour:
                name = f"published ({row['dataset']}, {row['encoder']})"
                axes.plot(
                    place, 100 * row["value"], "D", markersize=5, markerfacecolor="white", markeredgecolor=colour,
                    linestyle="none", label=name,
                )  # fmt: skip
        ticks = legible(sorted({*curve["labels"], *places}))
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{n:g}" for n in ticks])
        axes.minorticks_off()
        axes.set(title=WAYS[way], xlabel="labels a class", ylabel="accuracy (%)" if way == panels[0] else "")
        axes.grid(color="#dddddd", linewidth=0.8)
        sns.despine(ax=axes)
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def legible(ticks: list[float], room: int = 40) -> list[float]:
    """Those of the ascending ticks whose numbers do not touch on a log axis as long as ``room`` digits."""
    kept = ticks[:1]
    for tick in ticks[1:]:
        digits = (len(f"{kept[-1]:g}") + len(f"{tick:g}")) / 2
        if room * log(tick / kept[-1]) / log(ticks[-1] / ticks[0]) > digits + 1:
            kept.append(tick)
    return kept


def line(axes: Axes, rows: DataFrame, colour: Any, name: str, style: str) -> None:
    """One curve with the interval of each of its points."""
    place, mean, half = (rows[column].to_numpy() for column in ("labels", "mean", "half"))
    axes.plot(place, 100 * mean, style, color=colour, markersize=4, label=name)
    axes.fill_between(place, 100 * (mean - half), 100 * (mean + half), color=colour, alpha=0.15, linewidth=0)
