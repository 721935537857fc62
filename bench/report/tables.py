"""Comparable records as tables: their rows, and what a reader must know to judge them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..records.comparable import budget, conditions, given_weights, ranking_conditions, settings_by_name
from ..records.measurement import is_shown_in_percent
from ..records.record import Record
from ..records.store import file_name
from ..statistics import mean_interval_over_seeds, rank_correlation
from ..storage.hashing import fingerprint
from .external import external_notes, with_checkpoint_references
from .footnotes import distinguishing_settings, footnotes
from .frame import records_frame
from .groups import measured_where
from .learning import learning_notes
from .published import ReferenceNumbers, find_references, published_frame, references_in
from .significance import CorrectAnswers, tied_with_best

if TYPE_CHECKING:
    from ..protocol import Protocol

CEILING, FLOOR = "supervised", "random"
"""The first rows of every table. Methods are compared with them, and they are never ranked."""


@dataclass(frozen=True)
class CustomView:
    """A protocol's own view of a table's records."""

    protocol: type[Protocol]
    measured: pd.DataFrame  # the rows of `tap_table` for every metric, with metric, rank and tied_with_best
    published: pd.DataFrame  # published numbers about the same methods
    parts: list[pd.DataFrame]  # of the protocol's own table; empty: methods by taps


@dataclass(frozen=True)
class Table:
    """Rows that may be ranked together, and what a reader must know about them."""

    name: str  # of its files, without ending
    protocol: str
    where: str  # data, encoder and preset, and what distinguishes the table from its neighbours
    metric: str
    taps: list[str]
    rows: pd.DataFrame  # as `tap_table` computes them, with tied_with_best
    references: ReferenceNumbers | None
    notes: list[str]
    records: list[Record]  # the first decides the conditions of all
    custom: CustomView | None = None

    @cached_property
    def rows_by_label(self) -> list[tuple[str, list[Any]]]:
        """Each label with its rows of `rows`, one per tap, in order."""
        found: dict[str, list[Any]] = {}
        for row in self.rows.itertuples():
            found.setdefault(str(row.label), []).append(row)
        return list(found.items())

    @property
    def rows_with_references(self) -> pd.DataFrame:
        """`rows` with the metric and the published number of each."""
        published = pd.Series([self.reference(row) for _, rows in self.rows_by_label for row in rows], dtype="float64")
        return self.rows.assign(metric=self.metric, published=published)

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of the metric is better."""
        measured = (found for record in self.records for found in record.measurements if found.metric == self.metric)
        return next((found.higher_is_better for found in measured), True)

    @property
    def in_percent(self) -> bool:
        """Whether the metric is shown in percent; it is stored as a fraction."""
        return is_shown_in_percent(self.metric)

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"{self.protocol}: {self.heading} {self.where}"

    @property
    def heading(self) -> str:
        """The metric and its unit."""
        name = f"{self.metric} (%)" if self.in_percent else self.metric
        return name if self.higher_is_better else f"{name}, lower is better"

    def in_unit(self, value: float) -> float:
        """A value of the metric in the unit of the heading."""
        return 100 * value if self.in_percent else value

    def format_number(self, value: float | None) -> str:
        """A value of the metric as it is printed; a dash if there is none."""
        if value is None or math.isnan(value):
            return "-"
        return f"{self.in_unit(value):.{1 if self.in_percent else 3}f}"

    def mean_text(self, row: Any) -> str:
        """The mean of a row of `rows` as it is printed."""
        return "failed" if row.failed else self.format_number(row.mean)

    def reference(self, row: Any) -> float | None:
        """The published number for a row of `rows`."""
        return self.references.values.get((row.method, row.variant, row.tap)) if self.references else None


def build_tables(
    groups: list[list[Record]],
    methods: Sequence[str],
    headlines: Mapping[str, str],
    protocols: Mapping[str, type[Protocol]],
) -> list[Table]:
    """A table for each group, with a title that distinguishes it from the others.

    ``headlines``: protocol -> metric; ``protocols``: those that show their records in their own way.
    """
    leads = [group[0] for group in groups]
    places = [(group[0].cell.protocol, measured_where(group)) for group in groups]
    differences = distinguishing_settings(places, [ranking_conditions(lead) for lead in leads])
    tables = []
    for group, place, difference in zip(groups, places, differences, strict=True):
        others = zip(places, differences, strict=True)
        neighbours = [text for other, text in others if other == place and text != difference]
        where = place[1] + (f"; {difference}" if difference else "")
        headline = headlines.get(place[0], "accuracy")
        tables.append(build_table(group, where, methods, headline, protocols.get(place[0]), neighbours))
    return sorted(tables, key=lambda table: table.title)


def build_table(
    group: list[Record],
    where: str,
    methods: Sequence[str],
    headline: str,
    protocol: type[Protocol] | None = None,
    neighbours: Sequence[str] = (),
) -> Table:
    """The table of one group of comparable records, whose first record decides the conditions of all."""
    lead, labels = group[0], row_labels(group)
    group = without_repetitions(group, labels)
    measurements = [found for record in group if not record.failed for found in record.measurements]
    metrics = list(dict.fromkeys(found.metric for found in measurements))
    metric = headline if headline in metrics or not metrics else metrics[0]
    taps = list(dict.fromkeys(found.tap for found in measurements if found.metric == metric)) or ["result"]
    published = find_references(lead.cell.protocol, {record.cell.method for record in group}, taps, metric)
    group = in_row_order(group, labels, published, methods, protocol)
    frame = records_frame(group)
    frame["label"] = frame["key"].map(labels)
    answers = CorrectAnswers(group, labels)
    custom = build_custom_view(protocol, frame, metrics, lead, answers) if protocol and metrics else None
    references = with_checkpoint_references(published, group, taps, metric)
    cited = references_in(custom.published) if custom and custom.parts else references
    rows = tap_table(frame, taps, metric)
    ties = tied_with_best(rows.assign(metric=metric), rows["learns_from"], answers) if metric == "accuracy" else False
    return Table(
        name=table_name(lead),
        protocol=lead.cell.protocol,
        where=where,
        metric=metric,
        taps=taps,
        rows=rows.assign(tied_with_best=ties),
        references=references,
        notes=[
            *(custom.protocol.notes(custom.measured, custom.published, dict(lead.card)) if custom else ()),
            *(rank_correlation_note(rows, taps, published) if published else ()),
            *learning_notes(group, labels, (CEILING, FLOOR)),
            *external_notes(group, labels),
            *footnotes(lead, group, labels, cited, neighbours),
            *(f"not tested against the best, {label}: {why}" for label, why in answers.unread.items()),
        ],
        records=group,
        custom=custom,
    )


def table_name(lead: Record) -> str:
    """The name of a table's files: it is unique in all reports, while titles are unique in one."""
    cell, digest = lead.cell, fingerprint([conditions(lead), budget(lead)])[:6]
    return file_name(cell.protocol, cell.dataset, cell.encoder, cell.preset, digest)


def row_labels(group: list[Record]) -> dict[str, str]:
    """Key of a record -> label of its row: the method, and what distinguishes it from other rows of that method."""
    names = []
    for cell in (record.cell for record in group):
        name = ", ".join(part for part in (cell.method, cell.checkpoint) if part)
        names.append(f"{name} ({cell.variant})" if cell.variant else name)
    differences = distinguishing_settings(names, [record.settings.method for record in group])
    labels = {
        record.key: f"{name}, {difference}" if difference else name
        for record, name, difference in zip(group, names, differences, strict=True)
    }
    labels |= labels_with_differences(group, labels)
    collapsed = {labels[record.key] for record in group if record.collapsed}
    return {key: f"{label} (collapsed)" if label in collapsed else label for key, label in labels.items()}


def labels_with_differences(group: Sequence[Record], labels: Mapping[str, str]) -> dict[str, str]:
    """New labels for records that share label and seed but are not of the same cell, with what differs between them.

    That is the folder of their file of weights, or settings that the label and the table do not name, or a short hash.
    """
    sharing: dict[str, list[Record]] = defaultdict(list)
    for record in group:
        sharing[labels[record.key]].append(record)
    new = {}
    for label, records in sharing.items():
        cells = {(record.cell.seed, repetition_identity(record)): record for record in records}
        if len(cells) == len({seed for seed, _ in cells}):
            continue
        distinct = list(cells.values())
        for texts in difference_texts(distinct):
            if len({(record.cell.seed, text) for record, text in zip(distinct, texts, strict=True)}) == len(distinct):
                break
        by_cell = dict(zip(cells, texts, strict=True))
        for record in records:
            text = by_cell[record.cell.seed, repetition_identity(record)]
            new[record.key] = f"{label}, {text}" if text else label
    return new


def difference_texts(records: Sequence[Record]) -> Iterator[list[str]]:
    """What may tell records apart, from what a reader understands best to what is never equal."""
    files = [Path(record.source.file or "") if given_weights(record) else Path() for record in records]
    yield [f"from {file.parent.name}" if file.parent.name else "" for file in files]
    yield distinguishing_settings([""] * len(records), [settings_by_name(record) for record in records])
    yield [(given_weights(record) or record.key)[:8] for record in records]


def repetition_identity(record: Record) -> str:
    """Equal for two records with one label and seed only if one repeats the other's measurement.

    An untrained encoder with one seed is one measurement, however often it was measured; so are given weights.
    """
    if record.source.kind == "untrained":
        return "untrained"
    token = record.source.checkpoint.token if record.source.checkpoint else ""
    return given_weights(record) or token or record.key


def without_repetitions(group: Sequence[Record], labels: Mapping[str, str]) -> list[Record]:
    """The newest record of each label and seed: two of them are of the same weights."""
    newest: dict[tuple[str, int], Record] = {}
    for record in group:
        place = (labels[record.key], record.cell.seed)
        if place not in newest or record.provenance.created >= newest[place].provenance.created:
            newest[place] = record
    return list(newest.values())


def in_row_order(
    group: list[Record],
    labels: Mapping[str, str],
    published: ReferenceNumbers | None,
    methods: Sequence[str],
    protocol: type[Protocol] | None,
) -> list[Record]:
    """Ceiling and floor first, then methods in the order of the published numbers, then in the order given."""
    in_papers = [method for method, *_ in published.values] if published else []
    method_order = {name: at for at, name in enumerate(dict.fromkeys([CEILING, FLOOR, *in_papers, *methods]))}
    variants = [label for of_method in (protocol.variants.values() if protocol else ()) for label in of_method]
    variant_order = {label: at for at, label in enumerate(variants)}
    return sorted(
        group,
        key=lambda record: (
            method_order.get(record.cell.method, len(method_order)),
            variant_order.get(record.cell.variant, -1),
            labels[record.key],
        ),
    )


def build_custom_view(
    protocol: type[Protocol], frame: pd.DataFrame, metrics: Sequence[str], lead: Record, answers: CorrectAnswers
) -> CustomView:
    """The protocol's own view of labelled records and of published numbers about their methods."""
    tables = []
    for metric in metrics:
        taps = frame.loc[frame["metric"] == metric, "tap"].unique().tolist()
        tables.append(tap_table(frame, taps, metric).assign(metric=metric))
    measured, published = pd.concat(tables, ignore_index=True), published_frame(lead.cell.protocol)
    measured.attrs["card"] = dict(lead.card)
    groups = protocol.ranking_groups(measured)
    measured["rank"] = rank_methods(measured, ["tap", groups, "learns_from"], lower_is_better(frame))
    ranked_together = zip(groups, measured["learns_from"], strict=True)
    measured["tied_with_best"] = tied_with_best(measured, ranked_together, answers)
    published = published[published["method"].isin(frame["method"])]
    return CustomView(protocol, measured, published, protocol.table(measured, published))


def tap_table(frame: pd.DataFrame, taps: Sequence[str], metric: str) -> pd.DataFrame:
    """A row per label and tap: mean over seeds, half the width of its 95 % interval, rank among the methods.

    ``frame`` is `records_frame`, with a column ``label`` if a method has several rows; its order is kept. Values that
    were not measured are NaN; ``failed`` says that every seed failed.
    """
    if "label" not in frame:
        frame = frame.assign(label=frame["method"])
    # There are many small groups: plain Python is faster than pandas.
    measured: dict[tuple[str, str], list[Any]] = defaultdict(list)
    succeeded: dict[str, bool] = {}
    first: dict[str, Any] = {}
    columns = ["label", "method", "variant", "learns_from", "seed", "status", "metric", "tap"]
    columns += ["value", "ci_low", "ci_high", "pretrain_flops", "pretrain_seconds"]
    row: Any
    # As objects, since pandas unpacks text one word at a time.
    for row in frame[columns].astype(object).itertuples():
        first.setdefault(row.label, row)
        succeeded[row.label] = succeeded.get(row.label, False) or row.status != "failed"
        if row.metric == metric:
            measured[row.label, row.tap].append(row)
    table = []
    for label, head in first.items():
        for tap in taps:
            seeds = measured[label, tap]
            values, lows, highs, flops, seconds = (
                np.array([getattr(seed, name) for seed in seeds], float)
                for name in ("value", "ci_low", "ci_high", "pretrain_flops", "pretrain_seconds")
            )
            table.append(
                {
                    "label": label,
                    "method": head.method,
                    "variant": head.variant,
                    "learns_from": head.learns_from,
                    "role": {CEILING: "ceiling", FLOOR: "floor"}.get(head.method, ""),
                    "tap": tap,
                    "mean": mean_of_known(values),
                    "ci_half_width": ci_half_width(values, lows, highs),
                    "seeds": len({seed.seed for seed in seeds}),
                    "flops": mean_of_known(flops),
                    "seconds": mean_of_known(seconds),
                    "failed": not succeeded[label],
                }
            )
    means = pd.DataFrame(table)
    lower = {metric} & lower_is_better(frame)
    return means.assign(rank=rank_methods(means.assign(metric=metric), ["tap", "learns_from"], lower))


def lower_is_better(frame: pd.DataFrame) -> set[str]:
    """The metrics of `records_frame` whose lower values are better."""
    return set(frame.loc[frame["higher_is_better"].eq(False), "metric"])


def rank_methods(table: pd.DataFrame, by: list[Any], lower: Collection[str]) -> pd.Series:
    """The rank of each measured method in its group, 1 for the best mean; a method without a rival has none.

    The best mean is the highest, or the lowest for the metrics in ``lower``.
    """
    merit = table["mean"].where(~table["metric"].isin(lower), -table["mean"])
    ranked = table.assign(merit=merit)[(table["role"] == "") & merit.notna()]
    merits = ranked.groupby(by)["merit"]
    return merits.rank(ascending=False, method="min").where(merits.transform("size") > 1)


def ci_half_width(values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> float:
    """Half the width of the mean's 95 % interval: Student's t over seeds, or the recorded interval of one seed."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return mean_of_known((highs - lows) / 2)
    mean, low, _ = mean_interval_over_seeds(values)
    return mean - low


def mean_of_known(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def rank_correlation_note(rows: pd.DataFrame, taps: Sequence[str], published: ReferenceNumbers) -> list[str]:
    """How well the measured order agrees with the published one, at each tap with three or more methods in both."""
    parts = []
    for tap in taps:
        methods: Any = rows[(rows["tap"] == tap) & (rows["role"] == "") & rows["mean"].notna()].itertuples()
        pairs = [
            (row.mean, published.values[key])
            for row in methods
            if (key := (row.method, row.variant, row.tap)) in published.values
        ]
        if len(pairs) >= 3:
            parts.append(f"{tap} {rank_correlation(*zip(*pairs, strict=True)):.2f} ({len(pairs)} rows)")
    without = f"without {CEILING} and {FLOOR}"
    return [f"rank correlation (Spearman) of measured and published, {without}: {', '.join(parts)}"] if parts else []
