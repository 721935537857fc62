"""Records as tables: their rows, and what a reader must know to judge them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..records.comparable import budget, conditions, ranking_conditions
from ..records.record import Record
from ..records.store import file_name
from ..statistics import mean_interval_over_seeds, rank_correlation
from ..storage.hashing import fingerprint
from .external import external_notes, with_checkpoint_references
from .footnotes import apart, footnotes
from .frame import records_frame
from .groups import measured_where
from .published import Beside, beside, cited, published
from .significance import Answers, even

if TYPE_CHECKING:
    from ..protocol import Protocol

CEILING, FLOOR = "supervised", "random"
"""The rows that methods are measured against: they head every table and are never ranked."""


@dataclass(frozen=True)
class Own:
    """What a protocol makes of a table's records in its own way."""

    protocol: type[Protocol]
    measured: pd.DataFrame  # as `tap_table` gives them, for every metric, ranked as the protocol says; and ``even``
    published: pd.DataFrame
    parts: list[pd.DataFrame]  # of the printed table; none: methods by taps


@dataclass(frozen=True)
class Table:
    """Rows that may be ranked together, and what a reader must know of them."""

    name: str  # of its files, without ending
    protocol: str
    place: str  # on which data, with which encoder and preset, and what tells it from its neighbours
    metric: str
    taps: list[str]
    rows: pd.DataFrame  # as `tap_table` gives them, and ``even`` where nothing says that a row is not the best
    beside: Beside | None
    notes: list[str]
    group: list[Record]  # what it was made from
    own: Own | None = None

    @cached_property
    def lines(self) -> list[tuple[str, list[Any]]]:
        """Each label with its rows of `rows`, in order."""
        found: dict[str, list[Any]] = {}
        for row in self.rows.itertuples():
            found.setdefault(str(row.label), []).append(row)
        return list(found.items())

    @property
    def in_percent(self) -> bool:
        """Accuracies are; they are kept as fractions everywhere else."""
        return "accuracy" in self.metric

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"{self.protocol}: {self.heading} {self.place}"

    @property
    def heading(self) -> str:
        """The metric and its unit."""
        return f"{self.metric} (%)" if self.in_percent else self.metric

    def shown(self, value: float) -> float:
        """A number of the metric in its unit."""
        return 100 * value if self.in_percent else value

    def printed(self, row: Any) -> str:
        """The mean of a row of `rows`, in words where there is none."""
        return "failed" if row.failed else self.figure(row.mean)

    def figure(self, value: float | None) -> str:
        """A number as it is printed."""
        if value is None or math.isnan(value):
            return "-"
        return f"{self.shown(value):.{1 if self.in_percent else 3}f}"

    def published(self, row: Any) -> float | None:
        """The published number for a row of `rows`."""
        return self.beside.values.get((row.method, row.variant, row.tap)) if self.beside else None


def tables_of(
    groups: list[list[Record]],
    methods: Sequence[str],
    headlines: Mapping[str, str],
    protocols: Mapping[str, type[Protocol]],
) -> list[Table]:
    """Each group as a table that says what tells it from its neighbours.

    ``headlines``: protocol -> metric; ``protocols``: those that show their records in their own way.
    """
    leads = [group[0] for group in groups]
    names = [(lead.cell.protocol, measured_where(lead)) for lead in leads]
    tellings = apart(names, [ranking_conditions(lead) for lead in leads])
    tables = []
    for group, name, telling in zip(groups, names, tellings, strict=True):
        others = [other for rival, other in zip(names, tellings, strict=True) if rival == name and other != telling]
        where = name[1] + (f"; {telling}" if telling else "")
        headline = headlines.get(name[0], "accuracy")
        tables.append(tabulated(group, where, methods, headline, protocols.get(name[0]), others))
    return sorted(tables, key=lambda table: table.title)


def tabulated(
    group: list[Record],
    place: str,
    methods: Sequence[str],
    headline: str,
    protocol: type[Protocol] | None = None,
    neighbours: Sequence[str] = (),
) -> Table:
    """One group of comparable records as a table, to which the protocol may give a form of its own."""
    lead, labels = group[0], _labels(group)
    collapsed = {labels[record.key] for record in group if record.collapsed}
    labels = {key: f"{label} (collapsed)" if label in collapsed else label for key, label in labels.items()}
    # An untrained encoder of one seed is one measurement, however often it was asked for.
    group = list({(labels[record.key], record.cell.seed): record for record in group}.values())
    numbers = [number for record in group if not record.failed for number in record.measurements]
    metrics = list(dict.fromkeys(number.metric for number in numbers))
    metric = headline if headline in metrics or not metrics else metrics[0]
    taps = list(dict.fromkeys(number.tap for number in numbers if number.metric == metric)) or ["result"]
    papers = beside(lead.cell.protocol, {record.cell.method for record in group}, taps, metric)
    printed = [method for method, *_ in papers.values] if papers else []
    order = {name: place for place, name in enumerate(dict.fromkeys([CEILING, FLOOR, *printed, *methods]))}
    variants = [label for of in (protocol.variants.values() if protocol else ()) for label in of]
    declared = {label: place for place, label in enumerate(variants)}
    group.sort(
        key=lambda record: (
            order.get(record.cell.method, len(order)),
            declared.get(record.cell.variant, -1),
            labels[record.key],
        )
    )
    rows = records_frame(group)
    rows["label"] = rows["key"].map(labels)
    cell = lead.cell
    answers = Answers(group, labels)
    own = shown_by(protocol, rows, metrics, cell.protocol, answers) if protocol and numbers else None
    known = with_checkpoint_references(papers, group, taps, metric)
    told = cited(own.published) if own and own.parts else known
    table = tap_table(rows, taps, metric)
    tested = even(table.assign(metric=metric), table["tap"], answers) if metric == "accuracy" else [False] * len(table)
    # The title tells neighbours in one report apart, the digest also the files of two reports.
    digest = fingerprint([conditions(lead), budget(lead)])[:6]
    return Table(
        name=file_name(cell.protocol, cell.dataset, cell.encoder, cell.preset, digest),
        protocol=cell.protocol,
        place=place,
        metric=metric,
        taps=taps,
        rows=table.assign(even=tested),
        beside=known,
        notes=[
            *(own.protocol.notes(own.measured, own.published, dict(lead.card)) if own else ()),
            *(_same_order(table, taps, papers) if papers else ()),
            *external_notes(group, labels),
            *footnotes(lead, group, labels, told, neighbours),
            *(f"not tested against the best, {label}: {why}" for label, why in answers.unread.items()),
        ],
        group=group,
        own=own,
    )


def shown_by(protocol: type[Protocol], rows: pd.DataFrame, metrics: Sequence[str], name: str, answers: Answers) -> Own:
    """What the protocol makes of labelled records and of what was published about their methods."""
    tables = []
    for metric in metrics:
        taps = rows.loc[rows["metric"] == metric, "tap"].unique().tolist()
        tables.append(tap_table(rows, taps, metric).assign(metric=metric))
    measured, known = pd.concat(tables, ignore_index=True), published(name)
    among = protocol.ranking_groups(measured)
    measured["rank"] = ranks(measured, ["tap", among])
    measured["even"] = even(measured, among, answers)
    known = known[known["method"].isin(rows["method"])]
    return Own(protocol, measured, known, protocol.table(measured, known))


def tap_table(rows: pd.DataFrame, taps: Sequence[str], headline: str) -> pd.DataFrame:
    """Tidy records -> a row per label and tap: mean over seeds, half a 95 % interval, rank among the methods.

    ``rows`` is `records_frame`, with a column ``label`` where a method has several rows; the
    order is kept. What was not measured is NaN, with ``failed`` set where every seed failed.
    """
    if "label" not in rows:
        rows = rows.assign(label=rows["method"])
    # Many small groups: plain Python is quicker than pandas.
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    alive: dict[str, bool] = {}
    heads: dict[str, Any] = {}
    read = ["label", "method", "variant", "seed", "status", "metric", "tap"]
    read += ["value", "ci_low", "ci_high", "pretrain_flops", "pretrain_seconds"]
    row: Any
    # As objects, since pandas unpacks text one word at a time.
    for row in rows[read].astype(object).itertuples():
        heads.setdefault(row.label, row)
        alive[row.label] = alive.get(row.label, False) or row.status != "failed"
        if row.metric == headline:
            found[row.label, row.tap].append(row)
    table = []
    for label, head in heads.items():
        for tap in taps:
            cells = found[label, tap]
            values, lows, highs, flops, seconds = (
                np.array([getattr(cell, name) for cell in cells], float)
                for name in ("value", "ci_low", "ci_high", "pretrain_flops", "pretrain_seconds")
            )
            table.append(
                {
                    "label": label,
                    "method": head.method,
                    "variant": head.variant,
                    "role": {CEILING: "ceiling", FLOOR: "floor"}.get(head.method, ""),
                    "tap": tap,
                    "mean": mean_of(values),
                    "half": half_width(values, lows, highs),
                    "seeds": len({cell.seed for cell in cells}),
                    "flops": mean_of(flops),
                    "seconds": mean_of(seconds),
                    "failed": not alive[label],
                }
            )
    means = pd.DataFrame(table)
    return means.assign(rank=ranks(means, ["tap"]))


def ranks(table: pd.DataFrame, by: list[Any]) -> pd.Series:
    """Each measured method's rank among those of its group; without a rival nobody is best."""
    rivals = table[(table["role"] == "") & table["mean"].notna()].groupby(by)["mean"]
    return rivals.rank(ascending=False, method="min").where(rivals.transform("size") > 1)


def half_width(values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> float:
    """Half the 95 % interval of the mean: Student's t over seeds, or over test images where there is one seed."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return mean_of((highs - lows) / 2)
    mean, low, _ = mean_interval_over_seeds(values)
    return mean - low


def _same_order(rows: pd.DataFrame, taps: Sequence[str], known: Beside) -> list[str]:
    """How far the order in which rows were published is the one measured, at each tap where three or more are both."""
    told = []
    for tap in taps:
        rivals: Any = rows[(rows["tap"] == tap) & (rows["role"] == "") & rows["mean"].notna()].itertuples()
        pairs = [
            (row.mean, known.values[key])
            for row in rivals
            if (key := (row.method, row.variant, row.tap)) in known.values
        ]
        if len(pairs) >= 3:
            told.append(f"{tap} {rank_correlation(*zip(*pairs, strict=True)):.2f} ({len(pairs)} rows)")
    aside = f"{CEILING} and {FLOOR} aside"
    return [f"rank correlation (Spearman) of measured and published, {aside}: {', '.join(told)}"] if told else []


def mean_of(values: np.ndarray) -> float:
    """The mean of what is there."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def _labels(group: list[Record]) -> dict[str, str]:
    """Key -> name of the row: the method, and what tells it from other rows of that method."""
    names = []
    for cell in (record.cell for record in group):
        name = ", ".join(part for part in (cell.method, cell.checkpoint) if part)
        names.append(f"{name} ({cell.variant})" if cell.variant else name)
    tellings = apart(names, [record.settings.method for record in group])
    return {
        record.key: f"{name}, {telling}" if telling else name
        for record, name, telling in zip(group, names, tellings, strict=True)
    }
