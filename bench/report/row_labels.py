"""The labels of a table's rows: each names its method, and what distinguishes it from other rows of that method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..records.comparable import given_weights, settings_by_name
from ..records.record import Record
from .footnotes import distinguishing_settings


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
    for mark in ("collapsed", "undertrained"):
        marked = {labels[record.key] for record in group if getattr(record, mark)}
        labels = {key: f"{label} ({mark})" if label in marked else label for key, label in labels.items()}
    return labels


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
