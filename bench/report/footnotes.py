"""Footnotes: what a reader must know to judge a table.

They name the weights, deviations from the papers, the protocol card, data and budget, sources and failures.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records.record import Record
from .published import ReferenceNumbers
from .strengths import strength_notes

ORIGINS = {"pretrained": "pretrained now", "file": "from a file"}
MANY = 4  # neighbours that a footnote names
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")  # SHA-256, such as the identity of a data set; 12 digits suffice


def footnotes(
    lead: Record,
    group: list[Record],
    labels: Mapping[str, str],
    references: ReferenceNumbers | None,
    neighbours: Sequence[str],
) -> list[str]:
    """The footnotes of a group of comparable records.

    ``lead`` decides the group's conditions, ``labels``: key -> label of the row, ``neighbours`` distinguish the other
    tables of the same protocol and place.
    """
    measured = [record for record in group if not record.failed]
    return [
        *weights_notes(measured, labels),
        *deviation_notes(measured, labels),
        *strength_notes(measured, labels),
        *([f"protocol card: {settings_text(lead.card)}"] if lead.card else []),
        conditions_note(lead, group),
        *other_budget_notes(group, labels),
        *neighbour_notes(neighbours),
        *([f"published numbers, never ranked with measured ones: {references.setting}"] if references else []),
        *(f"published in {source}" for source in (references.sources if references else ())),
        *failure_notes(group, labels),
    ]


def weights_notes(measured: Sequence[Record], labels: Mapping[str, str]) -> list[str]:
    """A note for each origin of weights with the rows that have it."""
    origins: dict[str, dict[str, None]] = defaultdict(dict)  # dictionaries keep the order of the rows
    for record in measured:
        source = record.source
        file = f" ({Path(source.file).name})" if source.kind == "file" and source.file else ""
        origins[ORIGINS.get(source.kind, source.kind)][labels[record.key] + file] = None
    return [f"weights {origin}: {', '.join(rows)}" for origin, rows in origins.items()]


def deviation_notes(measured: Sequence[Record], labels: Mapping[str, str]) -> list[str]:
    """A note for each row whose settings are not its paper's."""
    deviations = {labels[record.key]: settings_text(record.deviations) for record in measured}
    return [f"settings that differ from the paper, {label}: {text}" for label, text in deviations.items() if text]


def conditions_note(lead: Record, group: Sequence[Record]) -> str:
    """Data, encoder, preset, budget and seeds; a group of external checkpoints alone has no preset and no budget."""
    cell, views = lead.cell, lead.settings.recipe.get("views")
    seeds = ", ".join(str(seed) for seed in sorted({record.cell.seed for record in group}))
    budget = f", budget {views:,} views" if isinstance(views, int) and views else ""
    trained = "" if lead.is_external else f", preset {cell.preset}{budget}"
    return f"data {cell.dataset}, encoder {cell.encoder}{trained}, seeds {seeds}"


def other_budget_notes(group: Sequence[Record], labels: Mapping[str, str]) -> list[str]:
    """A note that names the rows whose weights were given, so that the table's preset and budget are not theirs."""
    given = dict.fromkeys(labels[r.key] for r in group if r.is_external or r.source.kind == "file")
    return [f"trained elsewhere, with other data and another budget: {', '.join(given)}"] if given else []


def neighbour_notes(neighbours: Sequence[str]) -> list[str]:
    """A note that names what distinguishes the other tables of the same protocol and place."""
    if not neighbours:
        return []
    more = f" | {len(neighbours) - MANY} more" if len(neighbours) > MANY else ""
    return [f"not comparable with this table, shown separately: {' | '.join(neighbours[:MANY])}{more}"]


def failure_notes(group: Sequence[Record], labels: Mapping[str, str]) -> list[str]:
    """A note for each run that failed or collapsed."""
    notes = []
    for record in group:
        run = f"{labels[record.key]}, seed {record.cell.seed}"
        if record.failed:
            notes.append(f"failed: {run}: {last_line(record.error)}")
        elif record.collapsed:
            spread = record.pretext.get("spread")
            measured = "" if spread is None else f" (spread {spread:.3f} of 1)"
            notes.append(f"collapsed in pretraining: {run}: all images have nearly the same embedding{measured}")
    return notes


def distinguishing_settings(names: Sequence[Hashable], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of several things: those of its settings that are not the same in all things with its name."""
    alternatives: dict[Hashable, list[Mapping[str, Any]]] = defaultdict(list)
    for name, own in zip(names, settings, strict=True):
        if own not in alternatives[name]:
            alternatives[name].append(own)
    return [differing_settings(own, alternatives[name]) for name, own in zip(names, settings, strict=True)]


def differing_settings(own: Mapping[str, Any], alternatives: Sequence[Mapping[str, Any]]) -> str:
    """Those settings that have another value in any of the alternatives."""
    return settings_text(
        {name: value for name, value in own.items() if any(other.get(name) != value for other in alternatives)}
    )


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line: ``taps = conv4, conv5; head = linear``; identities of data are shortened."""
    texts = {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else DIGEST.sub(r"\1", str(value))
        for name, value in settings.items()
    }
    return "; ".join(f"{name} = {text}" for name, text in texts.items())


def last_line(error: str | None) -> str:
    """The last line of an error, which in a traceback says what went wrong."""
    return (error or "").strip().rpartition("\n")[2] or "no reason recorded"
