"""Where messages go: to the terminal, and to the file of ``--log-file``.

The engine logs with Python's ``logging``, below the logger "sslbench". INFO is what a user sees in any case, such as
the line of a finished cell; DEBUG is what ``--verbose`` adds; ``--quiet`` leaves errors only. A program that uses the
engine as a library can give the logger handlers of its own instead.
"""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from .display import Display

LOGGER = logging.getLogger("sslbench")
FILE_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


@cache
def error_console() -> Console:
    """The console for the error stream. Bars and lines share it, so that a line appears above the bars."""
    from rich.console import Console

    return Console(stderr=True)


def is_terminal() -> bool:
    """Whether the error stream is a terminal."""
    return sys.stderr.isatty()


class TerminalHandler(logging.Handler):
    """Prints messages on the error stream, wrapped at the terminal's width."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.printed_at = time.monotonic()  # when the last line was printed
        self.display: Display | None = None  # what shows progress now

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message. A terminal that is gone is no reason to stop working."""
        from rich.text import Text

        with suppress(OSError, ValueError):
            error_console().print(Text(fit_to_terminal(self.format(record))), soft_wrap=True)
        self.printed_at = time.monotonic()


def fit_to_terminal(text: str) -> str:
    """The text with its lines wrapped at the terminal's width; unchanged if the error stream is no terminal."""
    return wrap_words(text, error_console().width) if is_terminal() else text


def wrap_words(text: str, width: int) -> str:
    """Breaks lines between words at ``width`` characters. A longer word, such as a path, gets a line of its own."""
    wrapped = [
        textwrap.wrap(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False, drop_whitespace=True
        )
        for line in text.splitlines()
    ]
    return "\n".join("\n".join(lines) for lines in wrapped)


@contextmanager
def log_output(*, quiet: bool = False, verbose: bool = False, file: Path | None = None) -> Iterator[None]:
    """A context within which messages and progress are shown on the error stream, and also written to ``file``.

    ``quiet`` leaves errors only; ``verbose`` adds details. The file always gets everything, with the time. Of several
    processes that torchrun started, only the first one writes. Within another such context it changes nothing.
    Raises UserError if the file cannot be opened.
    """
    if terminal_handler():
        yield
        return
    first = os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK") == "0"
    level = logging.ERROR if quiet or not first else logging.DEBUG if verbose else logging.INFO
    handlers: list[logging.Handler] = [TerminalHandler(level)]
    if file is not None and first:
        handlers.append(open_log_file(file))
    before = LOGGER.level
    LOGGER.setLevel(min(level, logging.DEBUG if file else logging.INFO))
    for handler in handlers:
        LOGGER.addHandler(handler)
    try:
        yield
    except BaseException as error:
        handlers[0].setLevel(logging.CRITICAL)  # the caller shows the error
        LOGGER.error("stopped: %s: %s", type(error).__name__, error)
        raise
    finally:
        LOGGER.setLevel(before)
        for handler in handlers:
            LOGGER.removeHandler(handler)
            handler.close()


def open_log_file(file: Path) -> logging.Handler:
    """A handler that appends each message to a file at once. Raises UserError if the file cannot be opened."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, mode="a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--log-file {file}: cannot be opened ({error.strerror}); choose another file.") from None
    handler.setFormatter(logging.Formatter(FILE_FORMAT))
    return handler


def terminal_handler() -> TerminalHandler | None:
    """The handler of the enclosing `log_output`, if there is one."""
    return next((handler for handler in LOGGER.handlers if isinstance(handler, TerminalHandler)), None)
