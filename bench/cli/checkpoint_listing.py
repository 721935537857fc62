"""What ``list checkpoints`` and ``list METHOD@NAME`` print of registered checkpoints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import UserError, did_you_mean
from .options import Parser

if TYPE_CHECKING:
    from ..checkpoints.registry import Checkpoint

PROTOCOLS = ("linear", "knn")  # whose published numbers are shown
SHORTEST_CELL = 12  # characters to which the names of encoders are shortened on a narrow terminal

COLUMNS: dict[str, Callable[[Checkpoint], str]] = {  # the last ones are left out first on a narrow terminal
    "checkpoint": lambda checkpoint: checkpoint.token,
    "encoder": lambda checkpoint: checkpoint.encoder,
    "linear": lambda checkpoint: best_percent(checkpoint, "linear"),
    "knn": lambda checkpoint: best_percent(checkpoint, "knn"),
    "licence": lambda checkpoint: checkpoint.licence,
    "fetched": lambda checkpoint: "here" if checkpoint.is_local else "",
    "input": lambda checkpoint: checkpoint.input_spec.description if checkpoint.input_spec else "",
}

NOTE = (
    "linear, knn: published accuracy in percent, of the best tap. Also timm/NAME, torchvision/NAME, "
    "hf/OWNER/REPOSITORY/FILE and file/PATH; @random after the first two leaves them untrained, @ENCODER after the "
    "last two says what they hold. `fetch NAME` downloads ahead; --methods all@published runs all that are registered."
)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction from 0 to 1, such as 0.7 for 70 %")
    return value


def add_filters(parser: Parser) -> None:
    """The options that select rows of ``list checkpoints``."""
    group = parser.add_argument_group("for `list checkpoints`")
    group.add_argument("--encoder", metavar="NAME", help="only checkpoints of this encoder, such as resnet50")
    for protocol in PROTOCOLS:
        group.add_argument(
            f"--{protocol}-above",
            type=fraction,
            metavar="FRACTION",
            help=f"only those with a published {protocol} accuracy of at least this, such as 0.7",
        )
    group.add_argument("--licence", metavar="NAME", help="only those with this licence, such as MIT")
    group.add_argument("--fetched", action="store_true", help="only those that need no download")


def given_filters(options: argparse.Namespace) -> list[str]:
    """The filters among parsed options, as they are written on the command line."""
    names = ("encoder", "linear_above", "knn_above", "licence", "fetched")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) not in (None, False)]


def selected(checkpoints: Iterable[Checkpoint], options: argparse.Namespace) -> list[Checkpoint]:
    """The checkpoints that pass all filters.

    Raises UserError for an encoder or a licence that no checkpoint has, and if none passes.
    """
    found = list(checkpoints)
    for name in ("encoder", "licence"):
        wanted = getattr(options, name)
        known = {getattr(checkpoint, name) for checkpoint in found} - {""}
        if wanted is not None and wanted not in known:
            raise UserError(
                f"--{name} {wanted}: no registered checkpoint has this {name}. {did_you_mean(wanted, known)}"
            )
    chosen = [
        checkpoint
        for checkpoint in found
        if options.encoder in (None, checkpoint.encoder)
        and options.licence in (None, checkpoint.licence)
        and (checkpoint.is_local or not options.fetched)
        and all(
            low is None or best_published(checkpoint, protocol) >= low
            for protocol, low in zip(PROTOCOLS, (options.linear_above, options.knn_above), strict=True)
        )
    ]
    if not chosen:
        raise UserError(f"list checkpoints: none passes {', '.join(given_filters(options))}; leave a filter out.")
    return chosen


def best_published(checkpoint: Checkpoint, protocol: str) -> float:
    """The best published accuracy among all taps, a fraction; below 0 if none was published."""
    return max(checkpoint.published.get(protocol, {}).values(), default=-1.0)


def best_percent(checkpoint: Checkpoint, protocol: str) -> str:
    """The best published accuracy in percent, or ""."""
    value = best_published(checkpoint, protocol)
    return f"{100 * value:.1f}" if value >= 0 else ""


def checkpoint_table(checkpoints: Sequence[Checkpoint], width: int | None) -> tuple[str, list[str]]:
    """A table of checkpoints that fits into ``width`` characters, and the columns that were left out for that."""
    from tabulate import tabulate

    cells = {name: [value(checkpoint) for checkpoint in checkpoints] for name, value in COLUMNS.items()}
    hidden: list[str] = []
    while True:
        sides = ["right" if name in PROTOCOLS else "left" for name in cells]
        table = tabulate(cells, headers="keys", disable_numparse=True, colalign=sides)
        excess = max(map(len, table.splitlines())) - (width or sys.maxsize)
        last = [*cells][-1]
        room = max(map(len, cells["encoder"])) - excess
        if excess <= 0 or last == "encoder":
            break
        if last == "knn" and room >= SHORTEST_CELL:  # names and numbers are shown rather than whole names alone
            cells["encoder"] = [shortened(text, room) for text in cells["encoder"]]
        else:
            hidden.insert(0, last)
            del cells[last]
    return table, hidden


def shortened(text: str, width: int) -> str:
    """The text, cut to the width with an ellipsis at its end."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def describe_checkpoint(checkpoint: Checkpoint) -> str:
    """Everything that is known of a registered checkpoint, one fact per line."""
    settings = ", ".join(f"{key} = {value}" for key, value in checkpoint.settings.items())
    published = [
        f"{protocol} " + ", ".join(f"{tap} {100 * value:.1f} %" for tap, value in by_tap.items())
        for protocol, by_tap in checkpoint.published.items()
    ]
    rows = {
        "encoder": checkpoint.encoder + (f" ({settings})" if settings else ""),
        "input": checkpoint.input_spec.description if checkpoint.input_spec else "",
        "published": "; ".join(published),
        "reading": checkpoint.reading
        if isinstance(checkpoint.reading, str)
        else ", ".join(f"{protocol} {pooling}" for protocol, pooling in checkpoint.reading.items()),
        "source": checkpoint.source,
        "licence": checkpoint.licence,
        "address": checkpoint.url,
        "sha256": checkpoint.sha256,
        "file": f"{checkpoint.file}" + ("" if checkpoint.is_local else " (not downloaded)"),
    }
    lines = [f"  {name:9}  {value}" for name, value in rows.items() if value]
    return "\n".join([f"{checkpoint.token} (checkpoint)", "", *lines])
