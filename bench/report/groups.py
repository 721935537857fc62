"""Groups of records that may be ranked together: each becomes a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..records.comparable import budget, conditions, has_no_budget, planned_conditions
from ..records.record import Record
from ..storage.hashing import fingerprint
from .external import with_external_rows


def group_comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Records that may be ranked together, group by group.

    Weights without a budget join the groups of all budgets. A run that failed before its protocol began has no
    protocol card: it joins the groups of its protocol's settings.
    """
    groups: dict[str, dict[str, list[Record]]] = defaultdict(dict)  # conditions -> budget -> records
    with_card: dict[str, dict[str, None]] = defaultdict(dict)  # planned conditions -> conditions
    # Records with a card and a budget come first, since they found the groups that the others join.
    for record in sorted(with_external_rows(records), key=lambda record: (not record.card, has_no_budget(record))):
        planned, spent = fingerprint(planned_conditions(record)), fingerprint(budget(record))
        own = fingerprint(conditions(record))
        fitting = [own] if record.card else [*with_card[planned]] or [own]
        joined = [
            group
            for place in fitting
            for group_budget, group in groups[place].items()
            if group_budget == spent or has_no_budget(record)
        ]
        if not joined:
            with_card[planned][fitting[0]] = None
            joined = [groups[fitting[0]].setdefault(spent, [])]
        for group in joined:
            group.append(record)
    return [group for budgets in groups.values() for group in budgets.values()]


def measured_where(group: Sequence[Record]) -> str:
    """Data, encoder and preset of a group of records as the end of a title; the first decides the group's conditions.

    External checkpoints have encoders of their own, and neither the preset nor the pretraining data of this project.
    """
    cell, limit = group[0].cell, group[0].settings.dataset.get("limit")
    dataset = f"{cell.dataset} (at most {limit:,} images per split)" if isinstance(limit, int) else cell.dataset
    external = [record for record in group if record.is_external]
    if len(external) == len(group):
        return f"on {dataset}, {cell.encoder}"
    elsewhere = cell.pretrain_dataset not in (None, cell.dataset)
    pretrained = f" from {cell.pretrain_dataset}" if elsewhere else ""
    encoder = f"several encoders ({cell.encoder} and others)" if external else cell.encoder
    return f"on {dataset}{pretrained}, {encoder}, {cell.preset}"
