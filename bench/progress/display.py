"""Shows the progress of generators: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from .events import Finished, Progress
from .log import LOGGER, TerminalHandler, error_console, is_terminal, terminal_handler
from .stop import Interrupted, stop_signals
from .time_left import TimeLeft, format_duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bars

HEARTBEAT_SECONDS = 30.0  # continuous integration ends a job that prints nothing for some minutes
T = TypeVar("T")
TIME_WIDTH = 8  # characters of 12:34:56


def show_progress(events: Generator[Any, None, None]) -> Iterator[Any]:
    """Passes events on and shows their progress; a signal to end stops at the next event.

    Within `log_output` the line of each finished cell stays on the screen. On a terminal there is a bar for the current
    step and one for the whole run; elsewhere a line says at least every 30 seconds how far the work is.
    Raises Interrupted after a signal. A second Ctrl-C stops at once.
    """
    with stop_signals() as stop:
        try:
            with closing(events), closing(make_display(terminal_handler())) as display:
                for event in events:
                    display.show(event)
                    yield event
                    stop.raise_if_requested()
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT) from None
        except OSError:
            stop.raise_if_requested()  # the terminal is gone
            raise


def with_progress_bar(steps: Iterable[T], title: str, total: int | None, *, size_of: Callable[[T], int]) -> Iterator[T]:
    """Yields the same steps and shows how many of ``total`` are done, each counted with its size.

    Inside `show_progress` they are shown in place of the step that they are part of.
    """
    handler = terminal_handler()
    outer = handler.display if handler else None
    with nullcontext(outer) if outer else closing(make_display(handler)) as display:
        done = 0
        for step in steps:
            done += size_of(step)
            display.show(Progress(title=title, done=done, total=total or 0))
            yield step


def make_display(handler: TerminalHandler | None) -> Display:
    """Bars if the error stream is a terminal or notebook that can redraw them, else lines; nothing if it is quiet."""
    if handler is None:
        return Display()
    console = error_console()
    redraws = is_terminal() and not console.is_dumb_terminal
    if console.is_jupyter:
        redraws = find_spec("ipywidgets") is not None
    display = BarDisplay(console) if redraws and handler.level <= logging.INFO else LineDisplay(handler)
    display.handler, handler.display = handler, display
    return display


class Display:
    """Follows the events of a run and logs the lines of finished cells; shows no progress itself."""

    def __init__(self) -> None:
        self.handler: TerminalHandler | None = None
        self.time_left = TimeLeft()
        self.finished = 0

    def show(self, event: Any) -> None:
        """Takes note of one event; those that are no progress are ignored."""
        if isinstance(event, Progress):
            self.time_left.update(event)
        elif isinstance(event, Finished):
            self.finished += 1
            if event.failed:
                self.time_left.drop_current()
            LOGGER.log(logging.ERROR if event.failed else logging.INFO, "%s%s", self.number(), event.line)

    def number(self) -> str:
        """The number of the last finished cell, such as "[ 3/62] "."""
        if not self.time_left.workload:
            return ""
        total = self.time_left.workload.pieces
        return f"[{self.finished:{len(str(total))}}/{total}] "

    def close(self) -> None:
        """Removes what is on the screen but the lines."""
        if self.handler:
            self.handler.display = None


class LineDisplay(Display):
    """Logs a line when nothing was printed for ``interval`` seconds, even while no event comes."""

    def __init__(self, handler: TerminalHandler, interval: float | None = None) -> None:
        super().__init__()
        self.printer, self.interval = handler, interval or HEARTBEAT_SECONDS
        self.last: Progress | None = None
        self.began = time.monotonic()  # of the current step
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.log_regularly, daemon=True)
        self.thread.start()

    def show(self, event: Any) -> None:
        """Takes note of one event."""
        super().show(event)
        if isinstance(event, Progress):
            if self.last is None or event.title != self.last.title:
                self.began = time.monotonic()
            self.last = event

    def log_regularly(self) -> None:
        """Logs how far the work is whenever nothing was printed for the interval."""
        while not self.stopped.wait(max(0.0, self.printer.printed_at + self.interval - time.monotonic())):
            if time.monotonic() - self.printer.printed_at >= self.interval:
                LOGGER.info("%s", self.describe_progress())
                self.printer.printed_at = time.monotonic()

    def describe_progress(self) -> str:
        """The current step, how much of it is done, and the time left, in one line."""
        if self.last is None:
            return "working"
        event = self.last
        count = f" {event.done:,}/{event.total:,}" if event.total > 1 else ""
        parts = [f"{event.title}{count}", f"for {format_duration(time.monotonic() - self.began)}"]
        parts += [part for part in (event.note, str(self.time_left)) if part]
        return ", ".join(parts)

    def close(self) -> None:
        """Ends the thread."""
        super().close()
        self.stopped.set()
        self.thread.join()


class BarDisplay(Display):
    """A bar for the current step, with its count and times, and below it one for the whole run."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress as Bars,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__()
        self.console = console
        self.step_bar = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width(console)),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            auto_refresh=False,
        )
        self.run_bar = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width(console)),
            console=console,
            auto_refresh=False,
        )
        self.title = ""
        self.live = Live(
            get_renderable=self.render,
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what is piped elsewhere must not end in the terminal
        )
        with suppress(OSError):  # the terminal may be gone
            self.live.start()

    def show(self, event: Any) -> None:
        """Takes note of one event and updates the bars."""
        super().show(event)
        if isinstance(event, Progress):
            title, note = fit_texts(event, self.console.width)
            if event.title != self.title:
                replace_task(self.step_bar)
                self.step_bar.add_task(title, total=event.total or None, note=note)
                self.title = event.title
            task = self.step_bar.task_ids[-1]
            total = event.total or None
            self.step_bar.update(task, description=title, completed=event.done, total=total, note=note)

    def render(self) -> RenderableType:
        """Both bars as they are now."""
        from rich.console import Group

        words = str(self.time_left)
        if not self.time_left.workload or not words:
            return self.step_bar
        seconds, complete = self.time_left.seconds_left()
        if not self.run_bar.tasks:
            self.run_bar.add_task(words)
        elapsed = self.time_left.elapsed
        total = elapsed + seconds if complete else None
        self.run_bar.update(self.run_bar.task_ids[0], description=words, completed=elapsed, total=total)
        return Group(self.step_bar, self.run_bar)

    def close(self) -> None:
        """Removes the bars."""
        super().close()
        with suppress(OSError):  # the terminal may be gone
            self.live.stop()


def replace_task(bars: Bars) -> None:
    """Removes the bars of earlier steps."""
    for task in bars.task_ids:
        bars.remove_task(task)


def bar_width(console: Console) -> int:
    """Characters of a bar: few on a narrow terminal, where the texts need the room."""
    return 10 if console.width < 100 else 30


def fit_texts(event: Progress, width: int) -> tuple[str, str]:
    """An event's title and note, shortened so that bar, count and times fit on one line of ``width`` characters."""
    bar, gaps = (10 if width < 100 else 30), 5
    room = max(10, width - bar - gaps - 2 * TIME_WIDTH - (2 * len(str(event.total)) + 1))
    title = shorten_middle(event.title, room)
    return title, shorten_end(event.note, room - len(title))


def shorten_middle(text: str, width: int) -> str:
    """A text of at most ``width`` characters with its beginning and, more of it, its end, which names the step."""
    if len(text) <= width:
        return text
    end = (width - 3) * 2 // 3
    return f"{text[: width - 3 - end]}...{text[len(text) - end :]}"


def shorten_end(text: str, width: int) -> str:
    """The beginning of a text in at most ``width`` characters; empty if hardly anything fits."""
    if len(text) <= width:
        return text
    return f"{text[: width - 3]}..." if width >= 12 else ""
