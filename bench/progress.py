"""Progress bars with the time left, and a clean stop that loses no finished work on Ctrl-C and on signals to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

# Ctrl-C; a scheduler or `kill`; a terminal that closes; Ctrl-Break. Windows and POSIX each lack some.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much of a piece of work is done. Generators yield it; ``show_progress`` draws it."""

    title: str
    done: int
    total: int
    note: str = ""


class Interrupted(Exception):
    """A signal asked this process to stop, and the work was stopped after its state had been saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.exit_code = 128 + number  # as shells report it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP


class Stop:
    """Which signal has asked this process to stop, if any."""

    number: int | None = None

    def request(self, number: int, _: object) -> None:
        """Handles a signal. A second Ctrl-C stops at once; schedulers may repeat theirs."""
        if self.number is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.number = number
        with suppress(OSError, ValueError):  # the terminal may be gone
            print("\nStopping as soon as it is safe. Press Ctrl-C again to stop at once.", file=sys.stderr)

    def raise_if_requested(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """A context within which signals to end are noted instead of ending this process."""
    stop = Stop()
    previous: dict[int, Any] = {}
    for number in STOP_SIGNALS:
        # Whoever started this process with `nohup` wants SIGHUP to stay without effect.
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # only the main thread may
                previous[number] = signal.signal(number, stop.request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def show_progress(events: Generator[Any, None, None]) -> Iterator[Any]:
    """Passes events on and shows a bar for each ``Progress``; a signal to end stops at the next event.

    Raises Interrupted then. A second Ctrl-C stops at once.
    """
    with stop_signals() as stop:
        try:
            with closing(events), progress_bars() as update:
                for event in events:
                    if isinstance(event, Progress):
                        update(event)
                    yield event
                    stop.raise_if_requested()
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT) from None
        except OSError:
            stop.raise_if_requested()  # bars cannot be drawn on a terminal that is gone
            raise


@contextmanager
def progress_bars() -> Iterator[Callable[[Progress], None]]:
    """A function that shows progress on the error stream, one bar at a time; on no terminal it shows nothing."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress as Bars,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:

        def update(event: Progress) -> None:
            if not bars.tasks or bars.tasks[-1].description != event.title:
                for task in bars.task_ids:
                    bars.remove_task(task)
                bars.add_task(event.title, total=event.total, note=event.note)
            bars.update(bars.task_ids[-1], completed=event.done, total=event.total, note=event.note)

        yield update
