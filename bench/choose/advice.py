"""Which encoder to choose, and why, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from ..records.measurement import format_number
from ..records.predictions import read_predictions
from ..statistics import holm, mcnemar
from .halving import PROTOCOLS, Entry, Outcome

LEVEL = 0.05  # of significance
FASTER = 1.2  # a smaller ratio of speeds is not worth a word


def advise(outcome: Outcome) -> str:
    """One sentence: the most accurate encoder, and the fastest of those that are not significantly worse."""
    entries = [entry for entry in outcome.finalists if not entry.candidate.is_reference]
    floors = [entry for entry in outcome.finalists if is_floor(entry)]
    if not entries:
        remedy = "give more time with --minutes" if outcome.left_out else "name methods or checkpoints with --methods"
        return f"Nothing to choose: no candidate was measured, only what they are compared with; {remedy}."
    best, rivals = entries[0], entries[1:]
    where = f"with a linear classifier at {best.candidate.tap}, on {images_in_words(outcome)}"
    if floors and best_is_tied(best, floors[0]):
        return (
            f"Choose none of these: the most accurate, {best.candidate.name}, has {percent(best)} {where}, which is "
            f"not significantly more than {percent(floors[0])} of {floors[0].candidate.name}, which is untrained."
        )
    sentence = f"Choose {best.candidate.name}: {percent(best)} {where}"
    sentence += f" is the highest accuracy of {len(entries)}" if rivals else " (it is the only one measured)"
    return f"{sentence}{alternatives(best, tied_rivals(best, rivals))}."


def alternatives(best: Entry, tied: Sequence[Entry]) -> str:
    """The end of the sentence: which others would do as well, the fastest of them with its speed."""
    if not tied:
        return ""
    speed = best.images_per_second
    timed = [entry for entry in tied if entry.images_per_second and speed]
    fastest = max(timed, key=lambda entry: entry.images_per_second or 0, default=None)
    ratio = (fastest.images_per_second or 0) / (speed or 1) if fastest else 0.0
    if fastest and ratio >= FASTER:
        return (
            f"; {fastest.candidate.name} ({percent(fastest)}) is not significantly worse and "
            f"{ratio:.{0 if ratio >= 10 else 1}f} times as fast"
        )
    names = ", ".join(entry.candidate.name for entry in tied)
    return f"; not significantly worse: {names}"


def tied_rivals(best: Entry, rivals: Sequence[Entry]) -> list[Entry]:
    """The rivals that a paired test does not find worse: McNemar's, corrected by Holm's method."""
    p_values = [p_value(best, rival) for rival in rivals]
    return [rival for rival, p in zip(rivals, holm(p_values), strict=True) if p >= LEVEL] if rivals else []


def best_is_tied(best: Entry, floor: Entry) -> bool:
    """Whether the best is not significantly better than a floor."""
    return best.score[0] <= floor.score[0] or p_value(best, floor) >= LEVEL


def p_value(one: Entry, other: Entry) -> float:
    """p of two candidates being right equally often on the same test images; 1 where predictions are missing."""
    answers = []
    for entry in (one, other):
        record = entry.records[PROTOCOLS[0]]
        predictions = read_predictions(record)
        found = record.measurement(entry.candidate.tap, "accuracy")
        answers.append(predictions.correct(found) if predictions and found else None)
    first, second = answers
    if first is None or second is None or len(first) != len(second):
        return 1.0
    return mcnemar(first, second)


def is_floor(entry: Entry) -> bool:
    """Whether it is a reference without training."""
    return entry.candidate.is_reference and entry.records[PROTOCOLS[0]].source.kind == "untrained"


def percent(entry: Entry) -> str:
    """The accuracy that decides, with half its interval."""
    found = entry.records[PROTOCOLS[0]].measurement(entry.candidate.tap, "accuracy")
    if found is None:
        return "-"
    half = None if found.ci_low is None or found.ci_high is None else (found.ci_high - found.ci_low) / 2
    return f"{format_number(found.value)}{'' if half is None else f' ± {format_number(half)}'} %"


def images_in_words(outcome: Outcome) -> str:
    """The images of the last round."""
    if outcome.limit is None:
        return f"all {outcome.info.test_images:,} test images"
    return f"at most {outcome.limit:,} images of each split"
