"""Which of a table's differences may be chance: paired tests on the images that both methods answered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UserError
from bench.records import Record, read_predictions
from bench.statistics import holm, mcnemar, randomisation_test

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.05

Answers = dict[str, dict[int, dict[str, np.ndarray]]]
"""Label -> seed -> tap -> right answers (N,)."""


def even(table: DataFrame, group: list[Record], labels: dict[str, str]) -> tuple[list[bool], list[str]]:
    """For each row whether nothing says that it is not the best of its tap, and what to know of the tests.

    Each method is compared with the best on the images and seeds that both have: by McNemar's
    test for one seed, by randomisation for more; Holm corrects for the comparisons of a tap.
    """
    found, untested = answers(group, labels, set(table.loc[table["rank"].notna(), "label"]))
    marks = np.zeros(len(table), bool)
    for _, rows in table[table["rank"].notna()].groupby("tap", sort=False):
        best = rows["rank"].idxmin()
        rivals, chances = [], []
        for at in rows.index.drop(best):
            a, b = (found.get(rows.loc[row, "label"], {}) for row in (best, at))
            tap = rows.loc[at, "tap"]
            seeds = [seed for seed in a if tap in a[seed] and tap in b.get(seed, {})]
            if seeds and len({len(side[seed][tap]) for side in (a, b) for seed in seeds}) == 1:
                rivals.append(at)
                pair = [np.stack([side[seed][tap] for seed in seeds]) for side in (a, b)]
                chances.append(mcnemar(pair[0][0], pair[1][0]) if len(seeds) == 1 else randomisation_test(*pair))
        if rivals:
            marks[rivals] = holm(chances) >= LEVEL
    notes = [f"not tested against the best, {label}: {why}" for label, why in untested.items()]
    return marks.tolist(), notes


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
