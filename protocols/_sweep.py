"""The table, the notes and the figure of ``negatives``: a sweep over the number of negatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sslbench import TableCell, as_percent, format_number, ranked_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

UNDER, OVER, NEITHER = "under-clustering", "over-clustering", "neither"
SEEDS_FOR_VERDICT = 3  # with fewer, nothing says how much the features of another pretraining would differ
AGREEMENT = {
    "homogeneity": "homogeneity",
    "completeness": "completeness",
    "v_measure": "V-measure",
    "nmi": "NMI",
    "ari": "ARI",
    "hungarian": "Hungarian",
}
LINES_NOTE = (
    "shares in %; same class: false negatives, among all train images and among the hardest, the most similar ones; "
    "alignment and uniformity of two views' features; the bound from the method's own task at the end of pretraining; "
    "best and ≈ within a line"
)


@dataclass(frozen=True)
class Sweep:
    """The results of one method at one tap, for several numbers of negatives."""

    title: str
    method: str
    points: DataFrame  # a row per number of negatives; columns (mean, ci_half_width, rank, ... or seeds, metric)

    @property
    def cluster_counts(self) -> list[int]:
        """The numbers of clusters of k-means, ascending."""
        counts = (metric.split("_k") for metric in self.points["mean"] if metric.startswith("homogeneity_k"))
        return sorted(int(k) for _, k in counts)

    @property
    def seeds(self) -> int:
        """The number of seeds of the point with the fewest."""
        return int(self.points["seeds"].min(axis=None)) if "seeds" in self.points else 1

    @property
    def is_judged(self) -> bool:
        """Whether there are enough seeds for a verdict on its points."""
        return self.seeds >= SEEDS_FOR_VERDICT


def iterate_sweeps(measured: DataFrame) -> Iterator[Sweep]:
    """Yields the sweep of each method at each tap, without failed runs."""
    rows = measured[measured["mean"].notna()]
    rows = rows.assign(
        negatives=rows["variant"].map(count_negatives),
        sweep=sweep_names(rows),
        tied_with_best=rows["tied_with_best"].astype(float),
    )
    values = ["mean", "ci_half_width", "rank", "tied_with_best", *rows.columns.intersection(["seeds"])]
    several = rows["tap"].nunique() > 1
    for (name, tap), group in rows.groupby(["sweep", "tap"], sort=False):
        points = group.pivot(index="negatives", columns="metric", values=values).sort_index()
        yield Sweep(f"{name} at {tap}" if several else str(name), group["method"].iloc[0], points)


def sweep_names(measured: DataFrame) -> Series:
    """The name of the sweep that each row belongs to: its label without the variant."""
    return measured["label"].combine(measured["variant"], lambda label, variant: label.replace(f" ({variant})", ""))


def count_negatives(variant: str) -> int:
    """The number of negatives per image: given by the variant, or all views of the other images of a batch."""
    name, _, number = variant.partition("=")
    return 2 * (int(number) - 1) if name == "batch" else int(number)


def build_table(sweep: Sweep, published: DataFrame) -> DataFrame:
    """A row per measure; a column per number of negatives, including those of published results."""
    import pandas as pd

    known = published[(published["method"] == sweep.method) & published["setting"].str.fullmatch(r"negatives=\d+")]
    known = known.assign(negatives=known["setting"].map(count_negatives))
    counts = sorted({*sweep.points.index, *known["negatives"]})
    points = sweep.points.reindex(counts)
    names = ("mean", "ci_half_width", "rank", "tied_with_best")
    accuracies = zip(*(points[name, "accuracy"] for name in names), strict=True)
    lines: dict[str, Sequence[str | TableCell]] = {
        "linear accuracy": [
            ranked_cell(as_percent(mean, half), rank, tied == 1) for mean, half, rank, tied in accuracies
        ]
    }

    def add_measured(name: str, metric: str, format_value: Callable[..., str] = as_percent) -> None:
        if metric in points["mean"]:
            values = zip(points["mean", metric], points["ci_half_width", metric], strict=True)
            lines[name] = [format_value(mean, half) for mean, half in values]

    def add_published(name: str, protocol: str) -> None:
        values = known[known["protocol"] == protocol].set_index("negatives")["value"]
        if len(values):
            lines[f"published, {name}"] = [as_percent(values.get(count, math.nan)) for count in counts]

    add_published("linear SVM", "linear SVM")
    add_measured("kNN accuracy", "knn_accuracy")
    add_published("kNN", "nearest neighbour")
    for metric, name in AGREEMENT.items():
        for k in sweep.cluster_counts:
            add_measured(f"{name}, k = {k}", f"{metric}_k{k}")
    add_measured("same class, all", "false_negatives")
    add_measured("same class, hardest", "false_negatives_hardest")
    add_measured("alignment", "alignment", two_decimals)
    add_measured("uniformity", "uniformity", two_decimals)
    if "bound" in points["mean"]:
        add_measured("InfoNCE bound (nats)", "bound", two_decimals)
        lines["log N (nats)"] = [two_decimals(math.log(1 + count)) for count in counts]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=[f"{count:,}" for count in counts])
    return table.reset_index(names=f"{sweep.title}, negatives")


def two_decimals(mean: float, half: float = math.nan) -> str:
    """A number that is not a share, with half the width of its interval; a dash if it is missing."""
    texts = [format_number(number, "", digits=2) for number in (mean, half) if not math.isnan(number)]
    return " ± ".join(texts) or "-"


def relative_losses(sweep: Sweep) -> dict[str, DataFrame]:
    """Failure -> a row per number of negatives: the loss from the sweep's best value, relative to that value.

    Under-clustering loses homogeneity with many clusters, over-clustering loses completeness with few. Column
    ``significant`` says whether the loss exceeds the intervals of both values.
    """
    import pandas as pd

    few, many = sweep.cluster_counts[0], sweep.cluster_counts[-1]
    losses = {}
    for failure, metric in ((UNDER, f"homogeneity_k{many}"), (OVER, f"completeness_k{few}")):
        mean = sweep.points["mean", metric].astype(float)
        half = sweep.points["ci_half_width", metric].astype(float).fillna(0)
        best, lost = int(mean.argmax()), mean.max() - mean
        significant = lost**2 > half**2 + half.iloc[best] ** 2
        losses[failure] = pd.DataFrame(
            {"loss": lost / mean.max(), "half": half / mean.max(), "significant": significant}
        )
    return losses


def main_failures(sweep: Sweep) -> dict[int, str]:
    """Number of negatives -> the failure with the larger significant loss, or "neither"."""
    losses = relative_losses(sweep)
    failures = {}
    for count in sweep.points.index:
        significant = [failure for failure in losses if losses[failure].loc[count, "significant"]]
        failures[count] = max(significant, key=lambda failure: losses[failure].loc[count, "loss"], default=NEITHER)
    return failures


def describe_failures(measured: DataFrame) -> str:
    """A sentence on which numbers of negatives under- or over-cluster, and by which rule."""
    clauses, few, many = [], 0, 0
    for sweep in iterate_sweeps(measured):
        few, many = sweep.cluster_counts[0], sweep.cluster_counts[-1]
        if not sweep.is_judged:
            clauses.append(f"{sweep.title} {seeds_in_words(sweep.seeds)}: not judged")
            continue
        counts: dict[str, list[str]] = {}
        for count, failure in main_failures(sweep).items():
            counts.setdefault(failure, []).append(f"{count:,}")
        clauses.append(f"{sweep.title} {join_words([f'{name} at {join_words(at)}' for name, at in counts.items()])}")
    return (
        f"what each number of negatives suffers from, by the larger loss from its sweep's best beyond the intervals "
        f"over {SEEDS_FOR_VERDICT} seeds or more, of homogeneity with {many} clusters ({UNDER}) or completeness with "
        f"{few} ({OVER}): {'; '.join(clauses)}"
    )


def seeds_in_words(seeds: int) -> str:
    """A number of seeds that is too small for a verdict."""
    return {1: "one seed", 2: "two seeds"}.get(seeds, f"{seeds} seeds")


def join_words(words: Sequence[str]) -> str:
    """Words joined by commas and a final "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def draw_sweeps(measured: DataFrame, figure: Figure) -> None:
    """One panel per sweep: homogeneity and completeness relative to their best values in the sweep."""
    sweeps = list(iterate_sweeps(measured))
    taps = measured["tap"].unique()
    figure.set_size_inches(max(3.4, 0.6 + 1.45 * len(sweeps)), 3.0)
    panels = figure.subplots(1, len(sweeps), sharey=True, squeeze=False)[0]
    for axes, sweep in zip(panels, sweeps, strict=True):
        draw_panel(axes, sweep)
    panels[0].set_ylabel("% of the sweep's best" + (f", at {taps[0]}" if len(taps) == 1 else ""))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)


def draw_panel(axes: Axes, sweep: Sweep) -> None:
    """Two curves over the number of negatives; the background colour is the main failure at each number."""
    import seaborn as sns

    blue, orange, grey = (sns.color_palette("colorblind")[place] for place in (0, 1, 7))
    counts = [int(count) for count in sweep.points.index]
    names = {
        UNDER: (f"homogeneity, {sweep.cluster_counts[-1]} clusters", blue, "o-"),
        OVER: (f"completeness, {sweep.cluster_counts[0]} clusters", orange, "s-"),
    }
    for failure, rows in relative_losses(sweep).items():
        name, colour, style = names[failure]
        axes.errorbar(
            counts,
            100 * (1 - rows["loss"]),
            yerr=100 * rows["half"],
            fmt=style,
            color=colour,
            markersize=3,
            linewidth=1,
            capsize=2,
            label=name,
        )
    accuracy = sweep.points["mean", "accuracy"]
    axes.plot(counts, 100 * accuracy / accuracy.max(), ":", color=grey, linewidth=1.2, label="linear accuracy")
    edges = [counts[0] / 2, *(math.sqrt(a * b) for a, b in pairwise(counts)), counts[-1] * 2]
    backgrounds = {UNDER: blue, OVER: orange}
    failures = main_failures(sweep).values() if sweep.is_judged else [""] * len(counts)
    for (left, right), failure in zip(pairwise(edges), failures, strict=True):
        axes.axvspan(left, right, color=backgrounds.get(failure, "white"), alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, tick_labels(counts, [failure.partition("-")[0] for failure in failures]))
    axes.set(title=sweep.title, xlabel="negatives per image", xlim=(edges[0], edges[-1]))
    axes.grid(axis="y", color="#dddddd", linewidth=0.5)
    sns.despine(ax=axes)


def tick_labels(counts: list[int], words: list[str]) -> list[str]:
    """Each number with its word below it; a number too near to the one before it is written below that one's."""
    level = set(readable_ticks([float(count) for count in counts], 22))
    lower = "\n\n" if any(words) else "\n"
    texts = [f"{count:,}\n{word}".strip() for count, word in zip(counts, words, strict=True)]
    return [text if count in level else lower + text for count, text in zip(counts, texts, strict=True)]


def readable_ticks(ticks: list[float], digits_per_axis: int = 40) -> list[float]:
    """Of ascending ticks, those whose numbers do not overlap on a log axis that has room for so many digits."""
    kept = ticks[:1]
    for tick in ticks[1:]:
        digits = (len(f"{kept[-1]:g}") + len(f"{tick:g}")) / 2
        if digits_per_axis * math.log(tick / kept[-1]) / math.log(ticks[-1] / ticks[0]) > digits + 1:
            kept.append(tick)
    return kept
