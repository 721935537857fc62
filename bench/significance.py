"""Which of a table's differences may be chance: paired tests on the images that both methods answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import UserError
from bench.records import Record, read_predictions
from bench.statistics import holm, mcnemar, randomisation_test

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.05

Right = dict[str, np.ndarray]  # tap -> right answers (N,)
Answers = dict[str, dict[int, Right]]  # label -> seed


def even(table: DataFrame, group: list[Record], labels: dict[str, str]) -> tuple[list[bool], list[str]]:
    """For each row whether nothing says that it is not the best of its tap, and what to know of the tests.

    Each method is compared with the best on the images and seeds that both have: by McNemar's
    test for one seed, by randomisation for more; Holm corrects for the comparisons of a tap.
    """
    rows: list[Any] = list(table.itertuples())
    found, untested = answers(group, labels, {row.label for row in rows if row.rank > 0})
    marks = [False] * len(rows)
    for tap in table["tap"].unique():
        ranked = sorted((row.rank, at, row.label) for at, row in enumerate(rows) if row.tap == tap and row.rank > 0)
        chances = {}
        for _, at, label in ranked[1:]:
            chance = chance_of(found.get(ranked[0][2], {}), found.get(label, {}), tap)
            if chance is not None:
                chances[at] = chance
        for at, adjusted in zip(chances, holm(list(chances.values())), strict=True):
            marks[at] = bool(adjusted >= LEVEL)
    notes = [f"not tested against the best, {label}: {why}" for label, why in untested.items()]
    return marks, notes


def chance_of(best: dict[int, Right], rival: dict[int, Right], tap: str) -> float | None:
    """p that both are equally often right at a tap, over the seeds of both; None where they saw no images alike."""
    seeds = [seed for seed in best if tap in best[seed] and tap in rival.get(seed, {})]
    if not seeds or len({len(side[seed][tap]) for side in (best, rival) for seed in seeds}) > 1:
        return None
    a, b = (np.stack([side[seed][tap] for seed in seeds]) for side in (best, rival))
    return mcnemar(a[0], b[0]) if len(seeds) == 1 else randomisation_test(a, b)


def answers(group: list[Record], labels: dict[str, str], wanted: set[str]) -> tuple[Answers, dict[str, str]]:
    """Right and wrong of the wanted rows, image by image; and the rows that cannot be read, with the reason."""
    found: Answers = {}
    unread: dict[str, str] = {}
    for record in group:
        label = labels[record["key"]]
        if label not in wanted or record.get("predictions") is None:
            continue
        try:
            predictions = read_predictions(Path(), record)
        except UserError as error:
            unread[label] = str(error)
            continue
        truth = predictions.pop("labels", None)
        if truth is not None:
            right = {tap: own == truth for tap, own in predictions.items() if len(own) == len(truth)}
            found.setdefault(label, {})[record["cell"]["seed"]] = right
    return found, unread
