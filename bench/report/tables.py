"""Comparable records as tables: their rows, and what a reader must know to judge them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..records.comparable import CEILING, FLOOR, budget, conditions, has_no_budget, ranking_conditions
from ..records.measurement import FRACTION, Measurement, format_number
from ..records.record import Record
from ..records.store import file_name
from ..storage.hashing import fingerprint
from .captions import write_caption
from .external import with_checkpoint_references
from .footnotes import distinguishing_settings, folded_settings, footnotes
from .groups import measured_where
from .learning import learning_notes
from .published import ReferenceNumbers, find_references, published_frame, rank_correlation_note, references_in
from .row_labels import row_labels, without_repetitions
from .rows import in_row_order, labelled_frame, lower_is_better, rank_methods, tap_table
from .saved_arrays import SavedArrays
from .significance import CorrectAnswers, tied_with_best

if TYPE_CHECKING:
    from ..protocol import Protocol

WITHOUT_PUBLISHED = "smoke"
"""The preset whose numbers are too far from any paper's to be shown next to them."""


@dataclass(frozen=True)
class CustomView:
    """A protocol's own view of a table's records."""

    protocol: type[Protocol]
    measured: pd.DataFrame  # the rows of `tap_table` for every metric, with what `Protocol` says about them
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
    rows: pd.DataFrame  # as `tap_table` computes them, with tied_with_best; the best at `headline_tap` is first
    references: ReferenceNumbers | None
    notes: list[str]  # what a reader needs
    records: list[Record]  # the first decides the conditions of all
    custom: CustomView | None = None
    caption: str = ""  # what the rows say, in two sentences; "" for a protocol's own table
    settings: list[tuple[str, str]] = field(default_factory=list)  # what a reader may look up: (what, its settings)

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
    def headline_tap(self) -> str:
        """The tap that rows are sorted by and that the caption is about: the last, and so the deepest, one."""
        return self.taps[-1]

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of the metric is better."""
        return next((found.higher_is_better for found in self._measurements), True)

    @property
    def unit(self) -> str:
        """The unit of the metric; fractions are shown in percent."""
        return next((found.unit for found in self._measurements), "")

    @property
    def chance(self) -> float | None:
        """What features that say nothing about the question would give; None where that is not known."""
        return next((found.chance for found in self._measurements if found.chance is not None), None)

    @property
    def _measurements(self) -> Iterator[Measurement]:
        """The measurements of the metric."""
        return (found for record in self.records for found in record.measurements if found.metric == self.metric)

    @property
    def in_percent(self) -> bool:
        """Whether the metric is shown in percent; it is stored as a fraction."""
        return self.unit == FRACTION

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"{self.protocol}: {self.heading} {self.where}"

    @property
    def heading(self) -> str:
        """The metric and its unit."""
        unit = "%" if self.in_percent else self.unit
        name = f"{self.metric} ({unit})" if unit else self.metric
        return name if self.higher_is_better else f"{name}, lower is better"

    def in_unit(self, value: float) -> float:
        """A value of the metric in the unit of the heading."""
        return 100 * value if self.in_percent else value

    def format_number(self, value: float | None) -> str:
        """A value of the metric as it is printed; a dash if there is none."""
        return format_number(value, self.unit)

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
        headline, protocol = headlines.get(place[0], "accuracy"), protocols.get(place[0])
        tables.append(build_table(group, where, methods, headline, protocol, neighbours))
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
    group = in_row_order(group, labels, taps[-1], metric, methods, protocol)
    published = shown_references(lead, group, taps, metric)
    frame = labelled_frame(group, labels)
    answers = CorrectAnswers(group, labels)
    saved = SavedArrays(group, labels)
    custom = build_custom_view(protocol, frame, measurements, lead, answers, saved) if protocol and metrics else None
    rows = tap_table(frame, taps, metric)
    ties = tied_with_best(rows.assign(metric=metric), rows["learns_from"], answers) if metric == "accuracy" else False
    table = Table(
        name=table_name(lead),
        protocol=lead.cell.protocol,
        where=where,
        metric=metric,
        taps=taps,
        rows=rows.assign(tied_with_best=ties),
        references=with_checkpoint_references(published, group, taps, metric) if shows_published(lead) else None,
        notes=[],
        # Those with a card and a budget come first, since they decide the conditions of all.
        records=sorted(group, key=lambda record: (not record.card, has_no_budget(record))),
        custom=custom,
        settings=folded_settings(lead, group, labels, neighbours),
    )
    own_parts = bool(custom and custom.parts)
    lists_methods = custom is not None and any("labels" in part.attrs for part in custom.parts)
    cited = references_in(custom.published) if custom and own_parts else table.references
    return replace(
        table,
        caption="" if own_parts and not lists_methods else caption_of(table, answers),
        notes=[
            *(custom.protocol.notes(custom.measured, custom.published, dict(lead.card)) if custom else ()),
            *(rank_correlation_note(rows, taps, published) if published else ()),
            *learning_notes(group, (CEILING, FLOOR)),
            *(chance_note(table) if own_parts and not lists_methods else ()),
            *footnotes(lead, group, labels, cited),
            *(f"not tested against the best, {label}: {why}" for label, why in answers.unread.items()),
            *(f"left out of the comparison of features, {label}: {why}" for label, why in saved.unread.items()),
        ],
    )


def caption_of(table: Table, answers: CorrectAnswers) -> str:
    """The sentences above a table of methods by taps."""
    rows, number = table.rows.assign(metric=table.metric), partial(number_with_unit, table)
    return write_caption(rows, table.headline_tap, answers, number, higher_is_better=table.higher_is_better)


def number_with_unit(table: Table, value: float) -> str:
    """A value of a table's metric in a sentence."""
    return f"{table.format_number(value)} {'%' if table.in_percent else table.unit}".rstrip()


def chance_note(table: Table) -> list[str]:
    """The chance level, for a protocol's own table."""
    return [] if table.chance is None else [f"chance, {table.metric}: {number_with_unit(table, table.chance)}"]


def table_name(lead: Record) -> str:
    """The name of a table's files: it is unique in all reports, while titles are unique in one."""
    cell, digest = lead.cell, fingerprint([conditions(lead), budget(lead)])[:6]
    return file_name(cell.protocol, cell.dataset, cell.encoder, cell.preset or "external", digest)


def shows_published(lead: Record) -> bool:
    """Whether published numbers are shown next to those that were measured under these conditions."""
    return lead.cell.preset != WITHOUT_PUBLISHED


def shown_references(
    lead: Record, group: Sequence[Record], taps: Sequence[str], metric: str
) -> ReferenceNumbers | None:
    """The published numbers of a group's methods, None without any."""
    if not shows_published(lead):
        return None
    methods = {record.cell.method for record in group}
    found = find_references(lead.cell.protocol, methods, taps, metric)
    # Floor and ceiling of another encoder alone say nothing about these methods.
    return found if found and {method for method, *_ in found.values} - {CEILING, FLOOR} else None


def build_custom_view(
    protocol: type[Protocol],
    frame: pd.DataFrame,
    measurements: Sequence[Measurement],
    lead: Record,
    answers: CorrectAnswers,
    saved: SavedArrays,
) -> CustomView:
    """The protocol's own view of labelled records and of published numbers about their methods."""
    tables = []
    first = {found.metric: found for found in reversed(measurements)}
    chances = {found.metric: found.chance for found in reversed(measurements) if found.chance is not None}
    for metric in dict.fromkeys(found.metric for found in measurements):
        taps = frame.loc[frame["metric"] == metric, "tap"].unique().tolist()
        unit, higher, chance = first[metric].unit, first[metric].higher_is_better, chances.get(metric, math.nan)
        rows = tap_table(frame, taps, metric)
        tables.append(rows.assign(metric=metric, unit=unit, higher_is_better=higher, chance=chance))
    measured, published = pd.concat(tables, ignore_index=True), published_frame(lead.cell.protocol)
    measured.attrs |= {"card": dict(lead.card), "arrays": saved}
    groups = protocol.ranking_groups(measured)
    measured["rank"] = rank_methods(measured, ["tap", groups, "learns_from"], lower_is_better(frame))
    ranked_together = zip(groups, measured["learns_from"], strict=True)
    measured["tied_with_best"] = tied_with_best(measured, ranked_together, answers)
    published = published[published["method"].isin(frame["method"]) & shows_published(lead)]
    return CustomView(protocol, measured, published, protocol.table(measured, published))
