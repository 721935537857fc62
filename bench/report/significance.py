"""Which differences in a table may be chance: paired tests on the images that both methods predicted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..records.predictions import read_predictions
from ..records.record import Record
from ..statistics import holm, mcnemar, randomisation_test

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.05

Correct = dict[tuple[str, str], np.ndarray]  # (tap, metric) -> which images were right (N,)


def tied_with_best(table: DataFrame, groups: Iterable[Any], answers: CorrectAnswers) -> list[bool]:
    """For each row: is it statistically tied with the best row of the same tap and group?

    A row is tied if a paired test does not find it worse than the best row on the images and seeds that both have: by
    McNemar's test for one seed, by a randomisation test for more. Holm's method corrects for the number of rows that
    are compared with one best row.
    """
    rows: list[Any] = list(table.itertuples())
    tied = [False] * len(rows)
    ranked: dict[Any, list[tuple[float, int]]] = defaultdict(list)
    for at, (row, group) in enumerate(zip(rows, groups, strict=True)):
        if row.rank > 0:
            ranked[row.tap, group].append((row.rank, at))
    for (_, best), *others in map(sorted, ranked.values()):
        rivals = [at for _, at in others]
        different = are_different([(rows[best], rows[at]) for at in rivals], answers)
        for at, verdict in zip(rivals, different, strict=True):
            tied[at] = verdict is False
    return tied


def are_different(pairs: Sequence[tuple[Any, Any]], answers: CorrectAnswers) -> list[bool | None]:
    """For each pair of a better and a worse row of accuracies: is the difference significant?

    Holm's method corrects for the number of pairs. None for a pair that shares no images with known answers.
    """
    p_values = [answers.p_value(better, worse, len(pairs)) for better, worse in pairs]
    tested = [at for at, p in enumerate(p_values) if p is not None]
    adjusted = holm([p for p in p_values if p is not None])
    verdicts: list[bool | None] = [None] * len(pairs)
    for at, p in zip(tested, adjusted, strict=True):
        verdicts[at] = bool(p < LEVEL)
    return verdicts


class CorrectAnswers:
    """Which test images the methods of a table got right. Predictions are read when they are needed."""

    def __init__(self, group: list[Record], labels: Mapping[str, str]) -> None:
        self.unread: dict[str, str] = {}  # label -> why its predictions cannot be read
        self._images = group[0].card_count("test_images")
        self._records: dict[str, dict[int, Record]] = {}  # label -> seed
        for record in group:
            if record.predictions:
                self._records.setdefault(labels[record.key], {})[record.cell.seed] = record
        self._correct: dict[str, dict[int, Correct]] = {}  # label -> seed

    def p_value(self, best: Any, rival: Any, rivals: int) -> float | None:
        """p of two rows being right equally often, over the seeds of both; None if they share no images.

        0 without reading any predictions if Holm's method would call the difference significant among ``rivals``
        comparisons whatever the predictions are.
        """
        if not rival.metric.startswith("accuracy"):
            return None
        seeds_of = [self._records.get(row.label, {}).keys() for row in (best, rival)]
        complete = seeds_of[0] == seeds_of[1] and len(seeds_of[0]) == best.seeds == rival.seeds
        if complete and self._images and p_value_bound(best.mean, rival.mean, self._images) < LEVEL / rivals:
            return 0.0
        a, b = self.of_row(best), self.of_row(rival)
        seeds = [seed for seed in a if seed in b]
        if not seeds or len({len(side[seed]) for side in (a, b) for seed in seeds}) > 1:
            return None
        of_best, of_rival = (np.stack([side[seed] for seed in seeds]) for side in (a, b))
        return mcnemar(of_best[0], of_rival[0]) if len(seeds) == 1 else randomisation_test(of_best, of_rival)

    def of_row(self, row: Any) -> dict[int, np.ndarray]:
        """Which images a row got right (N,), by seed; seeds without predictions are left out."""
        found = {seed: correct.get((row.tap, row.metric)) for seed, correct in self._read(row.label).items()}
        return {seed: correct for seed, correct in found.items() if correct is not None}

    def _read(self, label: str) -> dict[int, Correct]:
        """The correct answers of a label by seed; damaged predictions are noted in `unread`."""
        if label not in self._correct:
            self._correct[label] = {}
            for seed, record in self._records.get(label, {}).items():
                try:
                    predictions = read_predictions(record)
                except UserError as error:
                    self.unread[label] = str(error)
                    continue
                if predictions:
                    known = {(m.tap, m.metric): predictions.correct(m) for m in record.measurements}
                    self._correct[label][seed] = {name: right for name, right in known.items() if right is not None}
        return self._correct[label]


def p_value_bound(best: float, rival: float, images: int) -> float:
    """The largest p that two accuracies (means over the same seeds) can have, whichever images were right.

    Hoeffding, "Probability inequalities for sums of bounded random variables", JASA 1963, for the images that only one
    of the two got right. There are at most as many of these as the worse one got wrong, or the better one right.
    """
    gap = best - rival
    discordant = 2 * min(best, 1 - rival) - gap  # the largest share of images that only one got right
    return 2 * math.exp(-images * gap**2 / (2 * discordant)) if gap > 0 else 1.0
