"""The time limit of a choice: what is left of it, and which pretraining fits into it."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from ..progress import Progress

OVER = "the time was over before it was measured"
MEASURED_FOR = 2.0  # seconds of a pretraining after which its pace is known


class OutOfTime(Exception):
    """Work that does not fit into the time that is left; the message says what it would take."""


class Clock:
    """Counts down from a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds until the limit; negative after it."""
        return self.seconds - self.spent

    def watch(self, events: Generator[Any, None, None], reserve: float = 0.0) -> Generator[Any, None, None]:
        """Passes events on until only ``reserve`` seconds are left, and stops the work then.

        Stops earlier where the pace of a pretraining shows that it would not end in time; its state is saved, as after
        Ctrl-C. Raises OutOfTime.
        """
        pace = Pace()
        with closing(events):
            for event in events:
                yield event
                end = self.left - reserve
                if end <= 0:
                    raise OutOfTime(OVER)
                if isinstance(event, Progress) and event.title.endswith(": pretraining"):
                    needed = pace.seconds_left(event.done, event.total)
                    if needed is not None and needed > end:
                        raise OutOfTime(f"its pretraining needs {in_minutes(needed)} more, {in_minutes(end)} were left")


class Pace:
    """How fast a pretraining advances; steps of an interrupted run, which come at once, do not count."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None
        self.before: float | None = None

    def seconds_left(self, done: int, total: int) -> float | None:
        """Seconds that the rest will take; None as long as the pace is not known."""
        now = time.monotonic()
        if self.before is None or now - self.before < 1e-3:
            self.first = (now, done)  # nothing, or a stored step
        self.before = now
        if self.first is None or now - self.first[0] < MEASURED_FOR or done == self.first[1]:
            return None
        return (now - self.first[0]) / (done - self.first[1]) * (total - done)


def in_minutes(seconds: float) -> str:
    """Seconds as a text such as "2.5 min" or "12 s"."""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{max(0, seconds):.0f} s"
