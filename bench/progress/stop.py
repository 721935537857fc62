"""A clean stop that loses no finished work, on Ctrl-C and on signals to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Ctrl-C; a scheduler or `kill`; a terminal that closes; Ctrl-Break. Windows and POSIX each lack some.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


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
