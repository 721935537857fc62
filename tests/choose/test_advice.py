"""The sentence: who is the most accurate, who is as good and faster, and when nobody beats the floor."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.choose.advice import advise, tied_rivals
from sslbench.bench.choose.halving import Entry, Outcome
from tests.choose.builders import entry
from tests.choose.test_halving import INFO

WHERE = "with a linear classifier at conv5, on all 3,000 test images"


def advice(*entries: Entry, **outcome: object) -> str:
    """The sentence for these entries of the last round."""
    return advise(Outcome(info=INFO, finalists=list(entries), **outcome))  # type: ignore[arg-type]


@pytest.fixture
def best(tmp_path: Path) -> Entry:
    """Wrong on the first 20 of 200 images."""
    return entry(tmp_path, "best", range(20), extract_seconds=4.0)


def test_a_tie_that_is_faster_is_named_with_its_speed(best: Entry, tmp_path: Path) -> None:
    """22 of 200 wrong is not significantly more than 20; 75 is. Of the two ties the faster one is named."""
    fast = entry(tmp_path, "fast", range(22), extract_seconds=1.0)
    slow = entry(tmp_path, "slow", range(1, 23), extract_seconds=3.0)
    bad = entry(tmp_path, "bad", range(75), extract_seconds=0.1)
    assert [one.candidate.name for one in tied_rivals(best, [fast, slow, bad])] == ["fast", "slow"]
    assert advice(best, fast, slow, bad) == (
        f"Choose best: 90.0 ± 4.2 % {WHERE} is the highest accuracy of 4; "
        "fast (89.0 ± 4.4 %) is not significantly worse and 4.0 times as fast."
    )


def test_ties_that_are_not_faster_are_named(best: Entry, tmp_path: Path) -> None:
    """Those of the same speed, and those whose speed is not known."""
    same = entry(tmp_path, "same", range(21), extract_seconds=4.0)
    unknown = entry(tmp_path, "unknown", range(22), extract_seconds=0.0)
    assert advice(best, same, unknown).endswith("of 3; not significantly worse: same, unknown.")


def test_a_clear_winner_has_no_second_clause(best: Entry, tmp_path: Path) -> None:
    """Everybody else is significantly worse."""
    worse = [entry(tmp_path, name, range(wrong)) for name, wrong in (("b", 60), ("c", 75))]
    assert advice(best, *worse) == f"Choose best: 90.0 ± 4.2 % {WHERE} is the highest accuracy of 3."
    assert advice(best) == f"Choose best: 90.0 ± 4.2 % {WHERE} (it is the only one measured)."


def test_references_are_never_advised(best: Entry, tmp_path: Path) -> None:
    """The ceiling, trained with these labels, is not chosen although it is better."""
    ceiling = entry(tmp_path, "supervised", range(2), kind="pretrained", is_reference=True)
    floor = entry(tmp_path, "random", range(150), kind="untrained", is_reference=True)
    assert advice(ceiling, best, floor).startswith("Choose best: ")


@pytest.mark.parametrize("wrong", [15, 22])
def test_nobody_is_advised_who_does_not_beat_the_floor(best: Entry, tmp_path: Path, wrong: int) -> None:
    """Whether the untrained encoder is better or not significantly worse."""
    floor = entry(tmp_path, "random", range(wrong), kind="untrained", is_reference=True)
    sentence = advice(best, floor)
    assert sentence.startswith(f"Choose none of these: the most accurate, best, has 90.0 ± 4.2 % {WHERE}")
    assert sentence.endswith("of random, which is untrained.")


def test_a_round_on_a_subset_is_named(best: Entry, tmp_path: Path) -> None:
    """If the time was over before the last round."""
    assert "on at most 500 images of each split" in advice(best, entry(tmp_path, "b", range(60)), limit=500)


def test_without_candidates_the_remedy_is_named(tmp_path: Path) -> None:
    """More time where candidates were left out, other words where there were none."""
    floor = entry(tmp_path, "random", range(9), kind="untrained", is_reference=True)
    assert advice(floor).endswith("name methods or checkpoints with --methods.")
    assert advice(floor, left_out={"moco": "no time"}).endswith("give more time with --minutes.")
