"""Which records may be ranked together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ..records.record import Record
from ..storage.hashing import fingerprint
from .external import hosted, is_guest

QUESTION = ("protocol", "card")
"""The conditions that differ from column to column of an overview."""


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Records that may be ranked together, group by group.

    An untrained encoder and one from a file have no budget of ours to differ in, and what
    failed in pretraining has no protocol card: they join every group otherwise like them.
    """
    groups: dict[str, dict[str, list[Record]]] = defaultdict(dict)  # conditions -> budget -> records
    asked: dict[str, dict[str, None]] = defaultdict(dict)  # conditions without their card -> those with it
    # Who knows most about its group comes first: it leads the others.
    for record in sorted(hosted(records), key=lambda record: (not record["card"], budgetless(record))):
        here, spent = fingerprint(conditions(record)), fingerprint(budget(record))
        fitting = [here] if record["card"] else [*asked[question(record)]] or [here]
        homes = [
            group
            for place in fitting
            for theirs, group in groups[place].items()
            if theirs == spent or budgetless(record)
        ]
        if not homes:
            asked[question(record)][fitting[0]] = None
            homes = [groups[fitting[0]].setdefault(spent, [])]
        for group in homes:
            group.append(record)
    return [group for budgets in groups.values() for group in budgets.values()]


def place(record: Record) -> str:
    """Where a record was measured."""
    cell = record["cell"]
    away = f" from {cell['pretrain_dataset']}" if cell["pretrain_dataset"] not in (None, cell["dataset"]) else ""
    return f"on {cell['dataset']}{away}, {cell['encoder']}, {cell['preset']}"


def setting(record: Record) -> dict[str, Any]:
    """What must be equal between two tables to show them side by side: all but the question itself."""
    return {name: value for name, value in (conditions(record) | budget(record)).items() if name not in QUESTION}


def flat(record: Record) -> dict[str, Any]:
    """What must be equal between two records to rank them, setting by setting."""
    flat: dict[str, Any] = {}
    for part, value in (conditions(record) | budget(record)).items():
        flat |= value if isinstance(value, dict) else {part: value}
    return flat


def conditions(record: Record) -> dict[str, Any]:
    """What must be equal between two records to rank them, whatever their weights."""
    return {
        **{part: record["cell"][part] for part in ("protocol", "dataset", "encoder")},
        "data": record["identity"].get("dataset"),
        "encoder settings": record["settings"].get("encoder"),
        "card": record["card"],
    }


def question(record: Record) -> str:
    """The conditions of a record as they were before there was a card: with the protocol's settings in its place."""
    return fingerprint(conditions(record) | {"card": record["settings"].get("protocol")})


def budget(record: Record) -> dict[str, Any]:
    """What must be equal besides to rank weights that are trained here."""
    recipe = record["settings"].get("recipe", {}) | record["settings"].get("common", {})
    return {
        **{part: record["cell"][part] for part in ("preset", "pretrain_dataset")},
        "pretrain_data": record["identity"].get("pretrain_dataset"),
        # What a variant changes in the recipe is what is compared, as its settings of the method are.
        **{name: value for name, value in recipe.items() if name != "seed"},
    }


def budgetless(record: Record) -> bool:
    """Whether the weights owe nothing to our recipe."""
    return record["source"].get("kind") in ("untrained", "file", "published") or is_guest(record)
