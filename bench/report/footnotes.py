"""What a reader must know to judge a table: weights, deviations, protocol card, data and budget, sources, failures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records.record import Record
from .published import Beside

SOURCES = {"pretrained": "pretrained now", "file": "from a file"}
MANY = 4  # neighbours named below a table


def footnotes(
    lead: Record, group: list[Record], labels: dict[str, str], published: Beside | None, neighbours: Sequence[str]
) -> list[str]:
    """The notes of a group of comparable records; ``neighbours`` say what is measured otherwise beside it."""
    origins: dict[str, dict[str, None]] = defaultdict(dict)  # dictionaries keep the order of the rows
    deviations, failures = {}, []
    for record in group:
        label, source = labels[record.key], record.source
        if record.failed:
            failures.append(f"failed: {label}, seed {record.cell.seed}: {_last_line(record.error)}")
            continue
        if record.collapsed:
            alike = f"all images embed alike, spread {record.pretext['spread']:.3f} of 1"
            failures.append(f"collapsed in pretraining: {label}, seed {record.cell.seed}: {alike}")
        file = f" ({Path(source.file).name})" if source.kind == "file" and source.file else ""
        origins[SOURCES.get(source.kind, source.kind)][label + file] = None
        deviations[label] = said(record.deviations)
    cell, views = lead.cell, lead.settings.recipe.get("views")
    seeds = ", ".join(str(seed) for seed in sorted({record.cell.seed for record in group}))
    budget = f", budget {views:,} views" if views else ""
    more = f" | {len(neighbours) - MANY} more" if len(neighbours) > MANY else ""
    return [
        *(f"weights {origin}: {', '.join(of)}" for origin, of in origins.items()),
        *(f"not the paper's settings, {label}: {what}" for label, what in deviations.items() if what),
        *([f"protocol card: {said(lead.card)}"] if lead.card else []),
        f"data {cell.dataset}, encoder {cell.encoder}, preset {cell.preset}{budget}, seeds {seeds}",
        *([f"a table apart, not to be ranked with this: {' | '.join(neighbours[:MANY])}{more}"] if neighbours else []),
        *([f"published, never ranked with ours: {published.setting}"] if published else []),
        *(f"published in {source}" for source in (published.sources if published else ())),
        *failures,
    ]


def apart(names: Sequence[Hashable], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of several things, those of its facts that are not the same in all things of its name."""
    alike: dict[Hashable, list[Mapping[str, Any]]] = defaultdict(list)
    for name, own in zip(names, facts, strict=True):
        if own not in alike[name]:
            alike[name].append(own)
    return [telling(own, alike[name]) for name, own in zip(names, facts, strict=True)]


def telling(own: Mapping[str, Any], others: list[Mapping[str, Any]]) -> str:
    """Those of one's settings that are not the same everywhere."""
    return said({name: value for name, value in own.items() if any(other.get(name) != value for other in others)})


def said(settings: Mapping[str, Any]) -> str:
    """Settings as a reader wants them."""
    words = {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        for name, value in settings.items()
    }
    return "; ".join(f"{name} = {value}" for name, value in words.items())


def _last_line(error: str | None) -> str:
    """What a traceback comes to."""
    return (error or "").strip().rpartition("\n")[2] or "no reason recorded"
