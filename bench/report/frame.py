"""Records as a data frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

import pandas as pd

from ..records.record import CellNames, Cost, Record
from ..storage.hashing import fingerprint
from .learning import learned_from

CELL = [field.name for field in fields(CellNames)]
COSTS = [field.name for field in fields(Cost)]
MEASURED = ["tap", "metric", "value", "higher_is_better", "ci_low", "ci_high"]


def records_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row per record, tap and metric. A record without results is one row without tap, metric and value."""
    rows = []
    for record in records:
        common = {
            "key": record.key,
            "status": record.status,
            "error": record.error,
            **{name: getattr(record.cell, name) for name in CELL},
            "card": fingerprint(record.card),
            "source": record.source.kind,
            "learns_from": learned_from(record),
            **{name: getattr(record.cost, name) for name in COSTS},
        }
        measurements = () if record.failed else record.measurements
        rows += [common | {name: getattr(found, name) for name in MEASURED} for found in measurements] or [common]
    columns = ["key", "status", "error", *CELL, "card", "source", "learns_from", *COSTS, *MEASURED]
    numbers = dict.fromkeys((*COSTS, "value", "ci_low", "ci_high"), "float64")
    return pd.DataFrame(rows, columns=columns).astype(numbers)
