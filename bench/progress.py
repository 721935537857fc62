"""Progress bars with the time left, and a Ctrl-C that loses no finished work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much of a piece of work is done. Generators yield it; ``show_progress`` draws it."""

    title: str
    done: int
    total: int
    note: str = ""


class Interrupted(Exception):
    """Ctrl-C was pressed, and the work was stopped after its state had been saved."""


def show_progress(events: Generator[Any, None, None]) -> Iterator[Any]:
    """Passes events on and shows a bar for each ``Progress``; the first Ctrl-C stops at the next event.

    Raises Interrupted after a Ctrl-C; a second one stops at once.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress as Bars,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        print("\nStopping as soon as it is safe. Press Ctrl-C again to stop at once.", file=sys.stderr)

    previous_handler = signal.signal(signal.SIGINT, press)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    try:
        with (
            closing(events),
            Bars(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars,
        ):
            current = None
            for event in events:
                if isinstance(event, Progress):
                    if current is None or bars.tasks[-1].description != event.title:
                        if current is not None:
                            bars.remove_task(current)
                        current = bars.add_task(event.title, total=event.total, note=event.note)
                    bars.update(current, completed=event.done, total=event.total, note=event.note)
                yield event
                if pressed:
                    raise Interrupted
    except KeyboardInterrupt:
        raise Interrupted from None
    finally:
        signal.signal(signal.SIGINT, previous_handler)
