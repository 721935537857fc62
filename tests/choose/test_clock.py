"""The time limit: when work is stopped, and which pretraining does not fit."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from sslbench.bench.choose import clock as clocks
from sslbench.bench.choose.clock import Clock, OutOfTime
from sslbench.bench.progress import Progress


class Time:
    """A time that passes only when a test changes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(clocks.time, "monotonic", lambda: self.now)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of `clocks`."""
    return Time(monkeypatch)


def pretraining(time: Time, *, steps: int, seconds: float, stored: int = 0) -> Generator[Any, None, None]:
    """Progress of so many steps of so many seconds each; ``stored`` steps of an interrupted run come at once."""
    for step in range(1, steps + 1):
        time.now += seconds if step > stored else 0.0
        yield Progress(title="rotnet: pretraining", done=step, total=steps)


def test_work_goes_on_until_the_limit(time: Time) -> None:
    """Four events of ten seconds fit into 45 seconds, of which five are kept for later."""
    clock, seen = Clock(50), []

    def events() -> Generator[Any, None, None]:
        for number in range(10):
            time.now += 10
            yield number

    with pytest.raises(OutOfTime, match="the time was over"):
        for event in clock.watch(events(), reserve=5):
            seen.append(event)
    assert seen == [0, 1, 2, 3, 4]
    assert (clock.spent, clock.left) == (50, 0)


def test_a_pretraining_that_fits_is_not_stopped(time: Time) -> None:
    """Fifty steps of one second, of which the last ends with five seconds left."""
    assert len(list(Clock(55).watch(pretraining(time, steps=50, seconds=1)))) == 50


def test_a_pretraining_that_does_not_fit_is_stopped_as_soon_as_its_pace_is_known(time: Time) -> None:
    """After two of fifty steps of two seconds: 96 seconds more, and 46 are left, of which 12 are kept for later."""
    seen = []
    with pytest.raises(OutOfTime, match=r"its pretraining needs 1\.6 min more, 34 s were left"):
        for event in Clock(50).watch(pretraining(time, steps=50, seconds=2), reserve=12):
            seen.append(event)
    assert len(seen) == 2


def test_steps_of_an_interrupted_run_say_nothing_about_the_pace(time: Time) -> None:
    """Forty stored steps come at once; the other ten of two seconds fit into 25 seconds but not into 15."""
    assert len(list(Clock(25).watch(pretraining(time, steps=50, seconds=2, stored=40)))) == 50
    with pytest.raises(OutOfTime, match=r"needs 18 s more, 13 s were left"):
        list(Clock(15).watch(pretraining(time, steps=50, seconds=2, stored=40)))


def test_the_work_is_closed_when_it_is_stopped(time: Time) -> None:
    """So that a pretraining saves its state."""
    closed = []

    def events() -> Generator[Any, None, None]:
        try:
            time.now += 10
            yield 1
        finally:
            closed.append(True)

    with pytest.raises(OutOfTime):
        list(Clock(5).watch(events()))
    assert closed == [True]
