"""The table, the sentence and the figure of a sweep over the number of negatives."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sslbench import marked, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

UNDER, OVER, NEITHER = "under-clustering", "over-clustering", "neither"
AGREEMENT = {
    "homogeneity": "homogeneity",
    "completeness": "completeness",
    "v_measure": "V-measure",
    "nmi": "NMI",
    "ari": "ARI",
    "hungarian": "Hungarian",
}
LINES = (
    "shares in %; same class: false negatives, among all train images and among the hardest, those most alike; "
    "alignment and uniformity of two views' features; the bound from the method's own task at the end of pretraining; "
    "best and ≈ within a line"
)


@dataclass(frozen=True)
class Sweep:
    """One method's points at one tap."""

    title: str
    method: str
    points: DataFrame  # a row per number of negatives, in order; columns (mean, half, rank or even, metric)

    @property
    def ks(self) -> list[int]:
        """Numbers of clusters that k-means was asked for, few first."""
        found = (metric.split("_k") for metric in self.points["mean"] if metric.startswith("homogeneity_k"))
        return sorted(int(k) for _, k in found)


def sweeps(measured: DataFrame) -> Iterator[Sweep]:
    """Each method at each tap; what failed is left out."""
    rows = measured[measured["mean"].notna()]
    rows = rows.assign(negatives=rows["variant"].map(negatives), sweep=swept(rows), even=rows["even"].astype(float))
    values = ["mean", "half", "rank", "even"]
    several = rows["tap"].nunique() > 1
    for (name, tap), of_sweep in rows.groupby(["sweep", "tap"], sort=False):
        points = of_sweep.pivot(index="negatives", columns="metric", values=values).sort_index()
        yield Sweep(f"{name} at {tap}" if several else str(name), of_sweep["method"].iloc[0], points)


def swept(measured: DataFrame) -> Series:
    """The sweep that each row is a point of: its label without the variant."""
    return measured["label"].combine(measured["variant"], lambda label, variant: label.replace(f" ({variant})", ""))


def negatives(variant: str) -> int:
    """How many negatives an image meets: as the variant says, or of a batch all views of the other images."""
    name, _, number = variant.partition("=")
    return 2 * (int(number) - 1) if name == "batch" else int(number)


def part(sweep: Sweep, published: DataFrame) -> DataFrame:
    """What was measured down; numbers of negatives across, those that were published among them."""
    import pandas as pd

    known = published[(published["method"] == sweep.method) & published["setting"].str.fullmatch(r"negatives=\d+")]
    known = known.assign(negatives=known["setting"].map(negatives))
    counts = sorted({*sweep.points.index, *known["negatives"]})
    points = sweep.points.reindex(counts)
    lines: dict[str, list[str]] = {}

    def measure(name: str, metric: str, form: Any = percent) -> None:
        if metric in points["mean"]:
            lines[name] = [form(*both) for both in zip(points["mean", metric], points["half", metric], strict=True)]

    def beside(name: str, probe: str) -> None:
        values = known[known["protocol"] == probe].set_index("negatives")["value"]
        if len(values):
            lines[f"published, {name}"] = [percent(values.get(count, math.nan)) for count in counts]

    measure("linear accuracy", "accuracy")
    marks = zip(lines["linear accuracy"], points["rank", "accuracy"], points["even", "accuracy"], strict=True)
    lines["linear accuracy"] = [marked(text, rank, even == 1) for text, rank, even in marks]
    beside("linear SVM", "linear SVM")
    measure("kNN accuracy", "knn_accuracy")
    beside("kNN", "nearest neighbour")
    for metric, name in AGREEMENT.items():
        for k in sweep.ks:
            measure(f"{name}, k = {k}", f"{metric}_k{k}")
    measure("same class, all", "false_negatives")
    measure("same class, hardest", "false_negatives_hardest")
    measure("alignment", "alignment", plain)
    measure("uniformity", "uniformity", plain)
    if "bound" in points["mean"]:
        measure("InfoNCE bound (nats)", "bound", plain)
        lines["log N (nats)"] = [plain(math.log(1 + count)) for count in counts]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=[f"{count:,}" for count in counts])
    return table.reset_index(names=f"{sweep.title}, negatives")


def plain(mean: float, half: float = math.nan) -> str:
    """A number that is no share, and half its interval."""
    return "-" if math.isnan(mean) else f"{mean:.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")


def losses(sweep: Sweep) -> dict[str, DataFrame]:
    """For each failure what the points lost of the sweep's best, as shares of it, and whether beyond the intervals.

    Under-clustering costs homogeneity with many clusters, over-clustering completeness with few.
    """
    import pandas as pd

    found = {}
    for failure, metric in ((UNDER, f"homogeneity_k{sweep.ks[-1]}"), (OVER, f"completeness_k{sweep.ks[0]}")):
        mean = sweep.points["mean", metric].astype(float)
        half = sweep.points["half", metric].astype(float).fillna(0)
        best, lost = int(mean.argmax()), mean.max() - mean
        found[failure] = pd.DataFrame(
            {"lost": lost / mean.max(), "half": half / mean.max(), "beyond": lost**2 > half**2 + half.iloc[best] ** 2}
        )
    return found


def verdicts(sweep: Sweep) -> dict[int, str]:
    """Number of negatives -> the failure that costs the point more, of those beyond the intervals; or neither."""
    lost = losses(sweep)
    found = {}
    for count in sweep.points.index:
        beyond = [failure for failure in lost if lost[failure].loc[count, "beyond"]]
        found[count] = max(beyond, key=lambda failure: lost[failure].loc[count, "lost"], default=NEITHER)
    return found


def sentence(measured: DataFrame) -> str:
    """Which of the two each point suffers from, and by which rule."""
    clauses, ks = [], [0]
    for sweep in sweeps(measured):
        ks, found = sweep.ks, verdicts(sweep)
        at = {verdict: [f"{n:,}" for n in found if found[n] == verdict] for verdict in dict.fromkeys(found.values())}
        clauses.append(f"{sweep.title} {listed([f'{verdict} at {listed(counts)}' for verdict, counts in at.items()])}")
    return (
        f"what each number of negatives suffers from, by the larger loss from its sweep's best beyond the intervals, "
        f"of homogeneity with {ks[-1]} clusters ({UNDER}) or completeness with {ks[0]} ({OVER}): {'; '.join(clauses)}"
    )


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def draw(measured: DataFrame, figure: Figure) -> None:
    """A panel a sweep: what is left of its best homogeneity and completeness, the worse of the two on the ground."""
    found = list(sweeps(measured))
    figure.set_size_inches(1.5 + 3.6 * len(found), 5.2)
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, sweep in zip(panels, found, strict=True):
        draw_panel(axes, sweep)
    panels[0].set_ylabel("% of the sweep's best")
    panels[0].legend(loc="best", fontsize=8)
    words = textwrap.fill(sentence(measured), 20 + 50 * len(found), break_on_hyphens=False)
    figure.supxlabel(words, x=0.01, ha="left", fontsize=9)


def draw_panel(axes: Axes, sweep: Sweep) -> None:
    """Two curves over the number of negatives; the ground says which of the two each point suffers from."""
    import seaborn as sns

    blue, orange, grey = (sns.color_palette("colorblind")[place] for place in (0, 1, 7))
    counts = [int(count) for count in sweep.points.index]
    names = {
        UNDER: (f"homogeneity, {sweep.ks[-1]} clusters", blue, "o-"),
        OVER: (f"completeness, {sweep.ks[0]} clusters", orange, "s-"),
    }
    for failure, lost in losses(sweep).items():
        name, colour, style = names[failure]
        axes.errorbar(
            counts, 100 * (1 - lost["lost"]), yerr=100 * lost["half"], fmt=style, color=colour, capsize=3, label=name
        )
    accuracy = sweep.points["mean", "accuracy"]
    axes.plot(counts, 100 * accuracy / accuracy.max(), ":", color=grey, label="linear accuracy")
    edges = [counts[0] / 2, *(math.sqrt(a * b) for a, b in pairwise(counts)), counts[-1] * 2]
    grounds = {UNDER: blue, OVER: orange}
    told = verdicts(sweep).values()
    for (left, right), verdict in zip(pairwise(edges), told, strict=True):
        axes.axvspan(left, right, color=grounds.get(verdict, "white"), alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{n:,}\n{verdict.partition('-')[0]}" for n, verdict in zip(counts, told, strict=True)])
    axes.set(title=sweep.title, xlabel="negatives", xlim=(edges[0], edges[-1]))
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    sns.despine(ax=axes)
