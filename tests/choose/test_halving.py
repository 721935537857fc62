"""Rounds: how many images, who goes on, and who fits into the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sslbench.bench.choose import halving
from sslbench.bench.choose.clock import Clock
from sslbench.bench.choose.halving import (
    Entry,
    measure_job,
    round_limits,
    run_rounds,
    seconds_for_last_round,
    surviving,
    with_fitting_neighbours,
)
from sslbench.bench.data import DatasetInfo
from sslbench.bench.errors import StorageError, UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Plan, Request
from sslbench.bench.progress import Progress
from sslbench.bench.run.measured import Measured
from tests.choose.builders import entry
from tests.records.builders import example_record

INFO = DatasetInfo(
    name="pictures", identity="a", image_size=32, classes=tuple("abcd"), train_images=9000, test_images=3000
)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """Twelve candidates, the best first, and a reference after the third."""
    folder = tmp_path_factory.mktemp("records")
    found = [entry(folder, f"m{number}", range(number)) for number in range(12)]
    found.insert(3, entry(folder, "random", range(3), is_reference=True))
    return found


@pytest.mark.parametrize(
    ("candidates", "limits"),
    [
        (0, [500, None]),
        (5, [500, None]),
        (6, [500, None]),
        (11, [500, 1000, None]),
        (40, [500, 1000, 2000, None]),
        (1000, [500, 1000, 2000, 4000, 8000, None]),  # 16,000 would be more than there are
    ],
)
def test_each_round_has_twice_as_many_images(candidates: int, limits: list[int | None]) -> None:
    """As many rounds as it takes to halve the candidates to five; the last one is on all images."""
    assert round_limits(INFO, candidates) == limits


def test_few_pictures_need_one_round_and_many_classes_more_pictures() -> None:
    """The first round has at least 10 images per class."""
    assert round_limits(replace(INFO, train_images=500, test_images=400), 20) == [None]
    many = replace(INFO, classes=tuple(map(str, range(100))))
    assert round_limits(many, 5) == [1000, None]


def test_the_better_half_goes_on_and_five_reach_the_last_round(entries: list[Entry]) -> None:
    """References always go on and take nobody's place."""
    assert [one.name for one in surviving(entries, is_last=False)] == ["m0", "m1", "m2", "m3", "m4", "m5", "random"]
    assert [one.name for one in surviving(entries, is_last=True)] == ["m0", "m1", "m2", "m3", "m4", "random"]


def test_knn_decides_between_equal_accuracies(tmp_path: Path) -> None:
    """The linear classifier counts first."""
    worse, better = entry(tmp_path, "a", range(4), knn=0.2), entry(tmp_path, "b", range(4), knn=0.3)
    best = entry(tmp_path, "c", range(3), knn=0.1)
    assert sorted([worse, best, better], key=lambda one: one.score, reverse=True) == [best, better, worse]


def test_time_is_kept_for_the_last_round(entries: list[Entry]) -> None:
    """300 images took 1 s of reading and 2 s per protocol: 12,000 take 200 s, for each of two; at most half of all."""
    assert entries[0].seconds == 5
    assert entries[0].seconds_on(INFO) == 200
    assert seconds_for_last_round(entries[:2], INFO, Clock(1000)) == 400
    assert seconds_for_last_round(entries, INFO, Clock(10_000)) == 6 * 200  # five, and the reference
    assert seconds_for_last_round(entries, INFO, Clock(1000)) == 500


def test_speed_is_known_unless_features_were_in_the_cache(tmp_path: Path) -> None:
    """Images of both splits per second of reading."""
    assert entry(tmp_path, "a", range(1), extract_seconds=0.5).images_per_second == 600
    assert entry(tmp_path, "b", range(1), extract_seconds=0.0).images_per_second is None


@pytest.mark.parametrize(
    ("train_images", "assignments", "expected"),
    [
        (9000, (), ()),
        (150, (), ("knn.k=20",)),
        (12, (), ("knn.k=12",)),
        (150, ("knn.k=3",), ("knn.k=3",)),
    ],
)
def test_few_images_have_few_neighbours(
    train_images: int, assignments: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """The default of 200 holds where there are as many images; a given k always does."""
    request = Request(methods=("random",), assignments=assignments)
    assert with_fitting_neighbours(request, replace(INFO, train_images=train_images)).assignments == expected


def outcome_of(work: Callable[[Plan], Generator[Any, None, None]], monkeypatch: pytest.MonkeyPatch) -> str:
    """Why the missing cells of a job could not be measured by this work."""
    monkeypatch.setattr(halving.runner, "measure_missing", work)
    plan = build_plan(Request(methods=("random",), assignments=("synthetic.train=200",), results=Path("nowhere")))
    return run_to_end(measure_job(plan, plan.jobs[0], Clock(60), reserve=0))


def run_to_end(work: Generator[Any, None, str]) -> str:
    """What a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return str(end.value)


def failing_record(plan: Plan) -> Generator[Any, None, None]:
    """Work that writes the record of a failure."""
    yield Progress(title="random: features", done=0, total=2)
    yield Measured(path=Path(), record=example_record(status="failed", error="no network"))


def unavailable(plan: Plan) -> Generator[Any, None, None]:
    """Work whose weights cannot be downloaded."""
    yield Progress(title="moco@v2: downloading", done=1, total=2)
    raise UserError("moco@v2: could not be downloaded")


def full_disk(plan: Plan) -> Generator[Any, None, None]:
    """Work whose records cannot be written."""
    yield Progress(title="random: features", done=0, total=2)
    raise StorageError("the disk is full")


def test_one_candidate_that_fails_does_not_end_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is noted, unless nothing could be written for any other either."""
    assert outcome_of(failing_record, monkeypatch) == "no network"
    assert outcome_of(unavailable, monkeypatch) == "moco@v2: could not be downloaded"
    with pytest.raises(StorageError):
        outcome_of(full_disk, monkeypatch)


def test_a_choice_of_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    """If every candidate failed, the first reason is named."""
    monkeypatch.setattr(halving.runner, "measure_missing", unavailable)
    settings = ("synthetic.train=200", "synthetic.test=50")
    request = Request(methods=("random", "pixels"), assignments=settings, results=results, device="cpu")
    with pytest.raises(UserError, match=r"no candidate could be measured; random: moco@v2: could not be downloaded"):
        run_to_end(run_rounds(request, 1.0))  # type: ignore[arg-type]
