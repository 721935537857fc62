"""Footnotes: what a reader must know to judge a table.

Notes name data and budget, given weights, sources and failures. Settings, such as the protocol card and deviations
from the papers, are kept apart from them, so that a format can fold them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records.comparable import crop_margin
from ..records.measurement import short_number
from ..records.record import Record
from .external import external_encoders
from .published import ReferenceNumbers
from .rows import ROLES
from .strengths import strength_notes

MANY = 4  # neighbours that a footnote names
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")  # SHA-256, such as the identity of a data set; 12 digits suffice


def footnotes(
    lead: Record, group: list[Record], labels: Mapping[str, str], references: ReferenceNumbers | None
) -> list[str]:
    """What a reader of a group of comparable records must know.

    ``lead`` decides the group's conditions, ``labels``: key -> label of the row.
    """
    return [
        *given_weights_notes(group, labels),
        *other_budget_notes(group, labels),
        *([f"published numbers, never ranked with measured ones: {references.setting}"] if references else []),
        *(f"published in {source}" for source in (references.sources if references else ())),
        conditions_note(lead, group),
        *missing_reference_notes(group),
        *failure_notes(group, labels),
    ]


def folded_settings(
    lead: Record, group: Sequence[Record], labels: Mapping[str, str], neighbours: Sequence[str]
) -> list[tuple[str, str]]:
    """What a reader may look up: (what, its settings), arguments as for `footnotes`.

    ``neighbours`` distinguish the other tables of the same protocol and place.
    """
    measured = [record for record in group if not record.failed]
    return [
        *([("protocol card", settings_text(lead.card))] if lead.card else []),
        *deviations(measured, labels),
        *strength_notes(measured, labels),
        *crop_notes(lead),
        *external_encoders(group, labels),
        *neighbour_notes(neighbours),
    ]


def given_weights_notes(group: Sequence[Record], labels: Mapping[str, str]) -> list[str]:
    """A note that names the files of weights that the user gave."""
    files = {
        f"{labels[record.key]} ({Path(record.source.file).name})": None
        for record in group
        if record.source.kind == "file" and record.source.file and not record.failed
    }
    return [f"weights from a file: {', '.join(files)}"] if files else []


def deviations(measured: Sequence[Record], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """For each row whose settings are not its paper's: those settings."""
    texts = {labels[record.key]: settings_text(record.deviations) for record in measured}
    return [(f"{label}, unlike its paper", text) for label, text in texts.items() if text]


def conditions_note(lead: Record, group: Sequence[Record]) -> str:
    """Data, encoder, preset, budget and seeds; a group of external checkpoints alone has no preset and no budget."""
    cell, views = lead.cell, lead.settings.recipe.get("views")
    seeds = ", ".join(str(seed) for seed in sorted({record.cell.seed for record in group}))
    budget = f", budget {views:,} views" if isinstance(views, int) and views else ""
    trained = "" if lead.is_external else f", preset {cell.preset}{budget}"
    several = "seeds" if "," in seeds else "seed"
    own = cell.encoder if lead.is_external else f"encoder {cell.encoder}{shared_parameters(group)}"
    elsewhere = {record.is_external for record in group}
    encoder = "several encoders" if len(elsewhere) > 1 else own
    return f"data {cell.dataset}, {encoder}{trained}, {several} {seeds}"


def crop_notes(lead: Record) -> list[tuple[str, str]]:
    """What pretraining cut its crops from, if from larger pictures than the images that probes see."""
    margin = crop_margin(lead)
    if lead.is_external or margin == 1:
        return []
    return [
        (
            "random crops",
            f"cut from a random square of each picture, read at {margin:g} times the side of the views; papers cut "
            "them from the whole file",
        )
    ]


def shared_parameters(group: Sequence[Record]) -> str:
    """In brackets the number of parameters that all encoders of a group have; "" if they differ or are not known."""
    counts = {record.cost.encoder_parameters for record in group if not record.failed}
    return f" ({short_number(count)} parameters)" if len(counts) == 1 and (count := counts.pop()) else ""


def other_budget_notes(group: Sequence[Record], labels: Mapping[str, str]) -> list[str]:
    """A note that names the rows whose weights were given, so that the table's preset and budget are not theirs."""
    given = dict.fromkeys(labels[r.key] for r in group if r.is_external or r.source.kind == "file")
    return [f"trained elsewhere, with other data and another budget: {', '.join(given)}"] if given else []


def neighbour_notes(neighbours: Sequence[str]) -> list[tuple[str, str]]:
    """What distinguishes the other tables of the same protocol and place."""
    if not neighbours:
        return []
    more = f" | {len(neighbours) - MANY} more" if len(neighbours) > MANY else ""
    return [("shown separately, not comparable", f"{' | '.join(neighbours[:MANY])}{more}")]


def missing_reference_notes(group: Sequence[Record]) -> list[str]:
    """A note for floor and ceiling if they are not in the table; none for variants, which are compared with another."""
    if any(record.cell.variant for record in group) or all(record.is_external for record in group):
        return []
    methods = {record.cell.method for record in group}
    return [f"{role} not measured: add {name} to --methods" for name, role in ROLES.items() if name not in methods]


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
        if record.undertrained and not record.failed:
            views = record.settings.recipe.get("views")
            notes.append(f"undertrained: {run}: {views:,} views end before its encoder gets a gradient")
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
