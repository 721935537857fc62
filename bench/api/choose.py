"""Chooses an encoder for a data set: the function ``sslbench.choose``."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..progress import log_output
from ..progress.log import LOGGER
from .request import PathLike, make_request
from .run import watch

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..choose.halving import Entry, Outcome
    from ..planning.plan import Request

NUMBERS = ("linear", "± linear", "knn")  # columns with accuracies in percent
NOTES = (
    "linear, knn: accuracy (%) on the test images; ±: half the 95 % interval over test images (Wilson)",
    "images/s: reading features on this machine, decoding included; - where they were in the cache",
    "MB: weights, and the most that one pass of one image holds at a time in float32, counted from the tensors; "
    "without the workspace of torch and its libraries",
    "licence: of the weights; yours: they are made from your pictures or given by you; -: not known, or no weights",
)


@dataclass(frozen=True)
class Choice:
    """The outcome of a choice: what was measured of each candidate, and one sentence of advice."""

    frame: DataFrame
    """A row per candidate: those of the last round first, the most accurate at the top."""
    advice: str
    """Which encoder to choose, and why."""
    left_out: Mapping[str, str]
    """Candidate -> why it was not measured, or not in the last round."""
    seconds: float
    """How long it took."""
    results: Path
    """The folder with the records."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the table must know."""
        left_out = [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return [*NOTES, *left_out]

    def __str__(self) -> str:
        from tabulate import tabulate

        rows = self.shown.astype(str).to_numpy().tolist()
        table = tabulate(rows, list(self.shown.columns), disable_numparse=True)
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"{table}\n\n{notes}\n\n{self.advice}"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"{self.shown.to_html(index=False)}\n<ul>{items}</ul>\n<p><b>{escape(self.advice)}</b></p>"

    @property
    def shown(self) -> DataFrame:
        """The frame with its numbers as text; a dash where something is not known."""
        digits = {**dict.fromkeys(NUMBERS, ".1f"), "images/s": ",.0f", "MB": ",.1f", "parameters": ",.0f"}
        table = self.frame.copy()
        for name, digit in digits.items():
            table[name] = [format(value, digit) if value == value else "-" for value in table[name]]
        return table


def choose(
    data_dir: PathLike | None = None,
    *,
    methods: str | Iterable[str] | None = None,
    minutes: float = 10.0,
    dataset: str = "folder",
    pretrain_dataset: str | None = None,
    pretrain_data_dir: PathLike | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    encoder: str | None = None,
    encoder_from: str | None = None,
    taps: str | Iterable[str] | None = None,
    settings: Mapping[str, Any] | str | Iterable[str] = (),
    preset: str = "small",
    device: str = "auto",
    precision: str = "auto",
    plugin: PathLike | Iterable[PathLike] = (),
    checkpoint: Mapping[str, PathLike] | str | Iterable[str] = (),
    results: PathLike = "results/local",
    progress: bool = True,
) -> Choice:
    """Finds the best encoder for a folder of pictures within so many minutes.

    All candidates are measured with a linear classifier and kNN on a subset with few labels; the better half goes on
    with twice as many pictures, and the best five are measured on all. Without ``methods`` the candidates are all
    whose weights are on this machine. What does not fit into the time is in `Choice.left_out`, with the reason.

    Raises UserError for a mistake, before any work, and if nothing could be measured.
    """
    words = locals()
    for name in ("methods", "minutes", "progress"):
        words.pop(name)
    with log_output() if progress else nullcontext(), each_message_once():
        return watch(measure_choice(request_to_choose(words, methods), minutes), progress=progress)


@contextmanager
def each_message_once() -> Iterator[None]:
    """A context in which a message is shown once: every round describes the same data again."""
    seen: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        known = len(seen)
        seen.add(record.getMessage())
        return len(seen) > known

    handlers = [*LOGGER.handlers, *([logging.lastResort] if logging.lastResort else [])]
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)


def request_to_choose(words: Mapping[str, Any], methods: str | Iterable[str] | None) -> Request:
    """The request that options stand for; without ``methods``, with all that are ready on this machine."""
    from ..choose.candidates import ready_words

    if methods is not None:
        return make_request({**words, "methods": methods})
    request = make_request({**words, "methods": ("all",)})
    ready = ready_words(request)
    if set(ready) <= {"random"}:
        raise UserError(
            "choose: no weights for these pictures are on this machine; name candidates with --methods: methods to "
            "pretrain on them (--methods rotnet,moco), or checkpoints to download (`list checkpoints`)."
        )
    return make_request({**words, "methods": ready})


def measure_choice(request: Request, minutes: float) -> Generator[Any, None, Choice]:
    """Measures the candidates and makes the choice; yields progress and records."""
    from ..choose.advice import advise
    from ..choose.halving import run_rounds

    outcome = yield from run_rounds(request, minutes)
    return Choice(choice_frame(outcome), advise(outcome), outcome.left_out, outcome.seconds, request.results)


def describe_schedule(request: Request) -> str:
    """The candidates and rounds of a request as text, without measuring anything."""
    from tabulate import tabulate

    from ..choose.halving import plan_rounds

    schedule = plan_rounds(request)
    rows = [
        [one.name, "to pretrain" if one.to_pretrain else "ready", one.tap, f"{one.footprint.parameters:,}", one.licence]
        for one in schedule.candidates
    ]
    rounds = ", then ".join("all" if limit is None else f"{limit:,} of each split" for limit in schedule.limits)
    info = schedule.info
    return (
        f"{tabulate(rows, ['candidate', 'weights', 'layer', 'parameters', 'licence'], disable_numparse=True)}\n\n"
        f"{info.name}: {info.train_images:,} + {info.test_images:,} images; rounds on {rounds}"
    )


def choice_frame(outcome: Outcome) -> DataFrame:
    """A row per measured candidate."""
    import pandas as pd

    last = [entry_row(entry, outcome.limit) for entry in outcome.finalists]
    return pd.DataFrame([*last, *(entry_row(entry, limit) for entry, limit in outcome.others[::-1])])


def entry_row(entry: Entry, limit: int | None) -> dict[str, Any]:
    """What is known of one candidate; accuracies in percent, and NaN where something is not known."""
    nan, candidate = float("nan"), entry.candidate
    linear = entry.records["linear"].measurement(candidate.tap, "accuracy")
    low, high = (linear.ci_low, linear.ci_high) if linear else (None, None)
    memory = candidate.footprint.memory_bytes
    return {
        "candidate": candidate.name,
        "linear": 100 * entry.accuracy("linear"),
        "± linear": 50 * (high - low) if low is not None and high is not None else nan,
        "knn": 100 * entry.accuracy("knn"),
        "images/s": entry.images_per_second or nan,
        "MB": nan if memory is None else 1e-6 * memory,
        "parameters": candidate.footprint.parameters,
        "layer": candidate.tap,
        "licence": candidate.licence,
        "images": "all" if limit is None else f"{limit:,} of each split",
        "role": "to compare with" if candidate.is_reference else "",
    }
