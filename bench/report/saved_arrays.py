"""The arrays that measurements saved next to their records, for protocols that show them in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from ..records.predictions import read_predictions
from ..records.record import Record


class SavedArrays:
    """The arrays of a table's rows. A file is read when it is first needed; of several seeds the first counts."""

    def __init__(self, group: Sequence[Record], labels: Mapping[str, str]) -> None:
        self.unread: dict[str, str] = {}  # label -> why its arrays cannot be read
        self._records: dict[str, Record] = {}
        for record in sorted(group, key=lambda record: record.cell.seed):
            if record.predictions:
                self._records.setdefault(labels[record.key], record)
        self._arrays: dict[str, Mapping[str, np.ndarray]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> SavedArrays:
        """The same object: pandas copies the attributes of a data frame whenever it copies the frame."""
        return self

    def of(self, label: str, tap: str, metric: str, name: str) -> np.ndarray | None:
        """An array of a row's measurement by its name; None if there is none, or if its file is damaged."""
        if label not in self._arrays:
            self._arrays[label] = self._read(label)
        return self._arrays[label].get(f"{tap} {metric} {name}")

    def _read(self, label: str) -> Mapping[str, np.ndarray]:
        """All arrays of a row by their names; a damaged file is noted in `unread`."""
        try:
            found = read_predictions(self._records[label]) if label in self._records else None
        except UserError as error:
            self.unread[label] = str(error)
            found = None
        return found.arrays if found else {}
