"""The caption of a table, written by rule: what stands apart, what is tied, and what is not better than the floor.

Differences are tested on the images that both rows predicted (see `significance`). Where no predictions are stored,
nothing is said about ties, and rows are compared with the floor by their intervals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .learning import IMAGES, UNKNOWN
from .significance import CorrectAnswers, are_different

if TYPE_CHECKING:
    from pandas import DataFrame

MANY = 6  # names that a sentence lists


def write_caption(
    rows: DataFrame, tap: str, answers: CorrectAnswers, number: Callable[[float], str], *, higher_is_better: bool = True
) -> str:
    """Two sentences about the rows of a table at one tap: the best ones, and those not better than the floor.

    ``number`` prints a mean with its unit. Only rows that learn from the same are compared with each other. Empty if
    no method was measured.
    """
    sign = 1 if higher_is_better else -1
    measured: list[Any] = list(rows[(rows["tap"] == tap) & rows["mean"].notna()].itertuples())
    methods = sorted((row for row in measured if not row.role), key=lambda row: (-sign * row.mean, row.label))
    floor = next((row for row in measured if row.role == "floor"), None)
    if not methods:
        return ""
    sentences = [best_sentence(methods, tap, answers, number)]
    if floor is not None:
        sentences.append(floor_sentence(methods, floor, answers, number, sign))
    return " ".join(sentences)


def best_sentence(methods: Sequence[Any], tap: str, answers: CorrectAnswers, number: Callable[[float], str]) -> str:
    """What is best of the most frequent kind of learning; ``methods`` begin with the best row."""
    kinds = Counter(row.learns_from for row in methods)
    kind = max(kinds, key=lambda name: (kinds[name], name == IMAGES))
    rows = [row for row in methods if row.learns_from == kind]
    among = f"Of {those_who_learn_from(str(kind))}, " if len(kinds) > 1 else ""
    best, rivals = rows[0], rows[1:]
    where = f"at {tap} ({number(best.mean)})"
    if not rivals:
        return (
            f"{among}{best.label} is the only one, {where}."
            if among
            else f"{best.label} has {number(best.mean)} at {tap}."
        )
    different = are_different([(best, row) for row in rivals], answers)
    tied = [
        row.label for row, verdict in zip(rivals, different, strict=True) if verdict is False or row.mean == best.mean
    ]
    if tied:
        return f"{among}{best.label} is best {where}, tied with {join_names(tied)}."
    if None in different:
        return f"{among}{best.label} is best {where}."
    return f"{among}{best.label} stands apart {where}{runner_up(rivals, answers, number)}."


def those_who_learn_from(kind: str) -> str:
    """The rows of one kind of learning, as a caption names them."""
    if kind == UNKNOWN:
        return "the encoders of which it is unknown what they learned from"
    return f"the methods that learn from {kind}{' alone' * (kind == IMAGES)}"


def runner_up(rivals: Sequence[Any], answers: CorrectAnswers, number: Callable[[float], str]) -> str:
    """What comes behind a row that stands apart, with the rows that are tied with it."""
    second, others = rivals[0], rivals[1:]
    different = are_different([(second, row) for row in others], answers)
    tied = [row.label for row, verdict in zip(others, different, strict=True) if verdict is False]
    behind = f"; behind it {second.label} ({number(second.mean)})"
    return f"{behind} is tied with {join_names(tied)}" if tied else f"{behind} comes next"


def floor_sentence(
    methods: Sequence[Any], floor: Any, answers: CorrectAnswers, number: Callable[[float], str], sign: int
) -> str:
    """Which rows are not significantly better than the untrained encoder."""
    better = better_than_floor(methods, floor, answers, sign)
    words = f"significantly better than the untrained encoder ({number(floor.mean)})"
    not_better = [row.label for row, verdict in zip(methods, better, strict=True) if verdict is False]
    unknown = [row.label for row, verdict in zip(methods, better, strict=True) if verdict is None]
    untested = f"; not tested: {join_names(unknown)}" if unknown else ""
    if len(unknown) == len(methods):
        return f"No method could be compared with the untrained encoder ({number(floor.mean)})."
    if not_better:
        verb = "is" if len(not_better) == 1 else "are"
        return f"{join_names(not_better)} {verb} not {words}{untested}."
    if len(methods) == 1:
        return f"It is {words}."
    tested = len(methods) - len(unknown)
    which = "Both methods" if tested == 2 else f"All {tested} methods" if tested > 2 else "The one method"
    return f"{which}{' that were tested' * bool(unknown)} {'is' if tested == 1 else 'are'} {words}{untested}."


def better_than_floor(methods: Sequence[Any], floor: Any, answers: CorrectAnswers, sign: int) -> list[bool | None]:
    """For each row: is it significantly better than the floor? None where neither answers nor intervals are known."""
    above = [sign * row.mean > sign * floor.mean for row in methods]
    pairs = [(row, floor) if higher else (floor, row) for row, higher in zip(methods, above, strict=True)]
    verdicts: list[bool | None] = []
    for row, higher, different in zip(methods, above, are_different(pairs, answers), strict=True):
        gap, needed = sign * (row.mean - floor.mean), row.ci_half_width + floor.ci_half_width
        if different is not None:
            verdicts.append(higher and different)
        elif not higher:
            verdicts.append(False)
        else:
            verdicts.append(None if math.isnan(needed) else bool(gap > needed))
    return verdicts


def join_names(names: Sequence[str]) -> str:
    """Names joined by commas and a final "and"; of many only the first ones, and the number of the others."""
    if len(names) > MANY + 1:
        names = [*names[:MANY], f"{len(names) - MANY} others"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
