"""Which of a table's differences may be chance: paired tests on the images that both methods answered."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..records.predictions import read_predictions
from ..records.record import Record
from ..statistics import holm, mcnemar, randomisation_test

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.05

Right = dict[tuple[str, str], np.ndarray]  # tap and metric -> right answers (N,)


def even(table: DataFrame, among: Iterable[Any], answers: Answers) -> list[bool]:
    """For each row, ranked in its tap and ``among`` those alike in this, whether nothing says that it is not the best.

    Each is compared with the best on the images and seeds that both have: by McNemar's test for one
    seed, by randomisation for more; Holm corrects for the comparisons with one best.
    """
    rows: list[Any] = list(table.itertuples())
    marks = [False] * len(rows)
    found: dict[Any, list[tuple[float, int]]] = defaultdict(list)
    for at, (row, alike) in enumerate(zip(rows, among, strict=True)):
        if row.rank > 0:
            found[row.tap, alike].append((row.rank, at))
    for ranked in map(sorted, found.values()):
        best, rivals = rows[ranked[0][1]], [at for _, at in ranked[1:]]
        chances = {at: answers.chance(best, rows[at], len(rivals)) for at in rivals}
        tested = {at: chance for at, chance in chances.items() if chance is not None}
        for at, adjusted in zip(tested, holm(list(tested.values())), strict=True):
            marks[at] = bool(adjusted >= LEVEL)
    return marks


class Answers:
    """Which test images the methods of a table got right, read as far as they are needed."""

    def __init__(self, group: list[Record], labels: dict[str, str]) -> None:
        self.images = group[0].card.get("test_images")
        self.records: dict[str, dict[int, Record]] = {}  # label -> seed
        for record in group:
            if record.predictions:
                self.records.setdefault(labels[record.key], {})[record.cell.seed] = record
        self.found: dict[str, dict[int, Right]] = {}  # label -> seed
        self.unread: dict[str, str] = {}  # label -> why

    def chance(self, best: Any, rival: Any, rivals: int) -> float | None:
        """p that both rows are equally often right, over the seeds of both; None where they saw no images alike.

        Of ``rivals`` comparisons one that Holm would call significant whatever the others say is 0 without being read.
        """
        if not rival.metric.startswith("accuracy"):
            return None
        whose = [self.records.get(row.label, {}).keys() for row in (best, rival)]
        whole = whose[0] == whose[1] and len(whose[0]) == best.seeds == rival.seeds
        if whole and self.images and at_most(best.mean, rival.mean, self.images) < LEVEL / rivals:
            return 0.0
        ours, theirs = self.of(best), self.of(rival)
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds or len({len(side[seed]) for side in (ours, theirs) for seed in seeds}) > 1:
            return None
        a, b = (np.stack([side[seed] for seed in seeds]) for side in (ours, theirs))
        return mcnemar(a[0], b[0]) if len(seeds) == 1 else randomisation_test(a, b)

    def of(self, row: Any) -> dict[int, np.ndarray]:
        """Which images a row got right (N,), by seed; seeds without predictions are left out."""
        found = {seed: right.get((row.tap, row.metric)) for seed, right in self.right(row.label).items()}
        return {seed: right for seed, right in found.items() if right is not None}

    def right(self, label: str) -> dict[int, Right]:
        """A label's right answers, seed by seed; of damaged predictions the reason is kept instead."""
        if label not in self.found:
            self.found[label] = {}
            for seed, record in self.records.get(label, {}).items():
                try:
                    predictions = read_predictions(record)
                except UserError as error:
                    self.unread[label] = str(error)
                    continue
                if predictions:
                    known = {(m.tap, m.metric): predictions.correct(m) for m in record.measurements}
                    self.found[label][seed] = {name: right for name, right in known.items() if right is not None}
        return self.found[label]


def at_most(best: float, rival: float, images: int) -> float:
    """What p can be at most for two accuracies (means over the same seeds), however the answers lie.

    Hoeffding, "Probability inequalities for sums of bounded random variables", JASA 1963, on coins for the images that
    only one got right, of which there are at most as many as the worse one got wrong, or the better one right.
    """
    gap = best - rival
    apart = 2 * min(best, 1 - rival) - gap  # share of images that only one got right, at most
    return 2 * math.exp(-images * gap**2 / (2 * apart)) if gap > 0 else 1.0
