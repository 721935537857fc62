"""Progress of long work: events that generators yield, bars and lines that show them, and a clean stop on signals."""

from .display import show_progress, with_progress_bar
from .events import Finished, Progress, Step, Workload
from .log import fit_to_terminal, log_output
from .stop import STOP_SIGNALS, Interrupted, stop_signals
from .time_left import format_duration

__all__ = [
    "STOP_SIGNALS",
    "Finished",
    "Interrupted",
    "Progress",
    "Step",
    "Workload",
    "fit_to_terminal",
    "format_duration",
    "log_output",
    "show_progress",
    "stop_signals",
    "with_progress_bar",
]
