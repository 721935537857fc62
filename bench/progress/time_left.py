"""How far a run is, and an estimate of the time left from the steps that it has timed so far."""

from __future__ import annotations

import time
from collections.abc import Callable

from .events import Progress, Step, Workload


class TimeLeft:
    """Times the steps of a run and estimates what is left.

    The step that runs is expected to go on at its own speed. Each later one is expected to take as long per unit (view,
    image, or cell of a protocol) as the steps of its most specific kind that this run has timed already.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.workload: Workload | None = None
        self._clock = clock
        self._steps: tuple[Step, ...] = ()
        self._current = -1  # index of the newest step that has begun
        self._running = False  # whether it has not ended yet
        self._began = self._run_began = clock()
        self._first = self._last = Progress(title="", done=0, total=0)  # events of the step that runs
        self._failed = False  # whether the step that runs has failed
        self._timed: dict[str, tuple[float, float]] = {}  # kind -> seconds and amount of the finished steps

    @property
    def piece(self) -> int:
        """The number, from 1, of the cell or encoder that is worked on; 0 before the first."""
        return self._steps[self._current].piece if self._current >= 0 else 0

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._run_began

    def update(self, event: Progress) -> None:
        """Notes how far a step is. An event with another title, or with less done, begins the next step of that title.

        Steps that are not in the workload, such as decoding pictures on the way, are not estimated.
        """
        if event.workload:
            self.workload, self._steps, self._current = event.workload, event.workload.steps, -1
        if event.title != self._last.title or event.done < self._last.done:
            self._begin(event)
        self._last = event

    def drop_current(self) -> None:
        """Leaves the time of the step that runs out of the estimates, because it failed."""
        self._failed = True

    def _begin(self, event: Progress) -> None:
        following = range(self._current + 1, len(self._steps))
        index = next((i for i in following if self._steps[i].title == event.title), None)
        if not self.workload:
            self._steps, index = (Step(title=event.title, kinds=(), amount=1, piece=0),), 0
        self._finish_current()
        if index is not None:
            self._current, self._running = index, True
        self._began, self._first, self._failed = self._clock(), event, False

    def _finish_current(self) -> None:
        running, self._running = self._running, False
        if not running or self._failed:
            return
        step, seconds = self._steps[self._current], self._clock() - self._began
        for kind in step.kinds:
            before, amount = self._timed.get(kind, (0.0, 0.0))
            self._timed[kind] = (before + seconds, amount + step.amount * self._share_timed(1.0))

    def _share_timed(self, share_done: float) -> float:
        """The share of the step that was done while it was timed: a resumed step does not begin at 0."""
        return share_done - (self._first.done / self._first.total if self._first.total else 0.0)

    def step_seconds_left(self) -> float | None:
        """Seconds until the current step ends, at its own speed or that of its kind; None if neither is known."""
        seconds, last = self._clock() - self._began, self._last
        done = last.done / last.total if last.total else 0.0
        if (timed := self._share_timed(done)) > 0:
            return max(0.0, (1 - done) / timed * seconds)
        usual = self._usual_seconds(self._steps[self._current]) if self._running else None
        return None if usual is None else max(0.0, usual - seconds)

    def seconds_left(self) -> tuple[float, bool]:
        """Seconds until the run ends, and whether all of its steps are in it: those that were never timed are not."""
        if not self._steps:
            return 0.0, False
        estimates = [self.step_seconds_left()] if self._running else []
        estimates += [self._usual_seconds(step) for step in self._steps[self._current + 1 :]]
        known = [seconds for seconds in estimates if seconds is not None]
        return sum(known), len(known) == len(estimates)

    def _usual_seconds(self, step: Step) -> float | None:
        """Seconds that a whole step takes by the steps timed so far, the one that runs included."""
        running = self._steps[self._current] if self._running else None
        done = self._last.done / self._last.total if self._last.total else 0.0
        share = self._share_timed(done)
        for kind in step.kinds:
            seconds, amount = self._timed.get(kind, (0.0, 0.0))
            if running and kind in running.kinds and running is not step and share > 0:
                seconds, amount = seconds + self._clock() - self._began, amount + running.amount * share
            if amount > 0:
                return seconds * step.amount / amount
        return None

    def __str__(self) -> str:
        """How far the run is, such as "cell 3 of 62, about 4 min left"."""
        seconds, complete = self.seconds_left()
        words = []
        if self.workload and self.piece:
            words.append(f"{self.workload.unit} {self.piece} of {self.workload.pieces}")
        if seconds >= 1:
            rounded = seconds if seconds < 90 else 60 * round(seconds / 60)
            words.append(f"{'about' if complete else 'more than'} {format_duration(rounded)} left")
        return ", ".join(words)


def format_duration(seconds: float) -> str:
    """Seconds in words, in at most two units: "8 s", "4 min 12 s", "3 h 5 min"."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min" + f" {total % 60} s" * bool(total % 60)
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + f" {minutes % 60} min" * bool(minutes % 60)
