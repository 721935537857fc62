"""Rows for external checkpoints.

A published checkpoint brings its own encoder, so it belongs to no encoder's table in particular. It is added to every
table that asks the same question of the same data, and a footnote names its encoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..records.comparable import question
from ..records.record import ExternalCheckpoint, Record
from ..storage.hashing import fingerprint
from .published import ReferenceNumbers

OWN_ENCODERS = "several encoders"
"""Where a table names its encoder, if all of its rows are external."""


def with_external_rows(records: Iterable[Record]) -> list[Record]:
    """The records, those of external checkpoints repeated for each encoder that the same question was asked with."""
    records = list(records)
    encoders: dict[str, dict[str, Record]] = {}
    for record in records:
        if not record.is_external:
            encoder = fingerprint([record.cell.encoder, record.settings.encoder])
            encoders.setdefault(fingerprint(question(record)), {}).setdefault(encoder, record)
    rows = [record for record in records if not record.is_external]
    for record in records:
        if checkpoint := record.source.checkpoint:
            tables = encoders.get(fingerprint(question(record)), {}).values()
            rows += [as_row_of(table, record, checkpoint) for table in tables or (None,)]
    return rows


def as_row_of(table: Record | None, record: Record, checkpoint: ExternalCheckpoint) -> Record:
    """The record as a row of the table that another record is in, or of a table of external checkpoints alone."""
    encoder = table.cell.encoder if table else OWN_ENCODERS
    return replace(
        record,
        cell=replace(record.cell, method=checkpoint.token, checkpoint=None, encoder=encoder),
        settings=replace(record.settings, encoder=table.settings.encoder if table else {}),
    )


def with_checkpoint_references(
    known: ReferenceNumbers | None, group: Sequence[Record], taps: Sequence[str], metric: str
) -> ReferenceNumbers | None:
    """Published numbers with those of the group's external checkpoints added."""
    values: dict[tuple[str, str, str], float] = {}
    sources: dict[str, None] = {}
    for record in group:
        if metric == "accuracy" and (checkpoint := record.source.checkpoint):
            by_tap = checkpoint.published.get(record.cell.protocol, {})
            here = {(record.cell.method, "", tap): value for tap, value in by_tap.items() if tap in taps}
            values |= here
            if here:
                sources[checkpoint.published_in or checkpoint.url] = None
    if not values:
        return known
    setting = "checkpoints: ImageNet-1k, probed as in each source"
    if known is None:
        return ReferenceNumbers(values=values, setting=setting, sources=tuple(sources))
    return ReferenceNumbers(
        values=known.values | values, setting=f"{known.setting}; {setting}", sources=(*known.sources, *sources)
    )


def external_encoders(group: Iterable[Record], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """(rows of external checkpoints, their encoder and what it expects); ``labels``: key -> label of the row."""
    encoders: dict[str, str] = {}  # label -> its encoder and input
    for record in group:
        if checkpoint := record.source.checkpoint:
            changed = "".join(f", {name} = {value}" for name, value in checkpoint.encoder_settings.items())
            expects = checkpoint.input.get("words", "images as they are")
            read = f", read at {checkpoint.reading['pooling']}" if checkpoint.reading.get("pooling") else ""
            encoders[labels[record.key]] = f"{checkpoint.encoder}{changed}: {expects}{read}"
    lines: dict[str, list[str]] = {}
    for label, encoder in encoders.items():
        lines.setdefault(encoder, []).append(label)
    return [(f"encoder of {', '.join(of)}", encoder) for encoder, of in lines.items()]
