"""How a comparison is told: on a terminal, in a pull request's comment, to programs and to continuous integration."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import asdict
from xml.etree import ElementTree

from tabulate import tabulate

from .compare import NAMES, Compared, Comparison

WIDTH = 100  # columns of a terminal
NEEDED = ("method", "protocol")
"""Names that every row shows; the others where they are not the same everywhere."""


def plain(result: Comparison) -> str:
    """What changed, for a terminal."""
    notes = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes_of(result)]
    return "\n\n".join(part for part in (title(result), grid(result, "simple"), "\n".join(notes)) if part) + "\n"


def markdown(result: Comparison) -> str:
    """What changed, for the comment on a pull request."""
    notes = "\n".join(f"- {note}" for note in notes_of(result))
    return "\n\n".join(part for part in (f"### {title(result)}", grid(result, "pipe"), notes) if part) + "\n"


def as_json(result: Comparison) -> str:
    """Every cell, those without a change too."""
    cells = [
        dict(zip(NAMES, cell.names, strict=True))
        | {name: finite(value) for name, value in asdict(cell).items() if name != "names"}
        for cell in result.cells
    ]
    told = {
        "exit_code": result.exit_code,
        "counts": result.counts,
        "tolerance": result.tolerance,
        "level": result.level,
        "baseline": result.sides[0],
        "candidate": result.sides[1],
        "damaged": {str(path): reason for path, reason in result.damaged},
        "cells": cells,
    }
    return json.dumps(told, indent=1, allow_nan=False) + "\n"


def junit(result: Comparison) -> str:
    """A test case a cell: worse is a failure, what could not be compared is an error, what is new is skipped."""
    counts = result.counts
    errors = counts.get("incomparable", 0) + counts.get("missing", 0)
    suite = ElementTree.Element(
        "testsuite",
        name="compare",
        tests=str(len(result.cells)),
        failures=str(counts.get("worse", 0)),
        errors=str(errors),
        skipped=str(counts.get("new", 0)),
    )
    for cell in result.cells:
        told = dict(zip(NAMES, cell.names, strict=True))
        place = ".".join(str(told[name]) for name in ("protocol", "dataset", "encoder", "preset"))
        parts = (told["method"], told["checkpoint"], told["variant"], cell.tap)
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=" ".join(str(p) for p in parts if p))
        kind = {"worse": "failure", "incomparable": "error", "missing": "error", "new": "skipped"}.get(cell.verdict)
        if kind:
            ElementTree.SubElement(
                case, kind, message=": ".join(t for t in (cell.verdict, change(cell), cell.why) if t)
            )
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def title(result: Comparison) -> str:
    """How many cells got which verdict."""
    return "compare: " + ", ".join(f"{count} {verdict}" for verdict, count in result.counts.items())


def grid(result: Comparison, tablefmt: str) -> str:
    """A row for each cell that is not the same; "" where all are."""
    shown = [cell for cell in result.cells if cell.verdict != "same"]
    varying = [name for at, name in enumerate(NAMES) if name in NEEDED or len({c.names[at] for c in result.cells}) > 1]
    rows = [
        [
            cell.verdict,
            *(str(dict(zip(NAMES, cell.names, strict=True))[name] or "") for name in varying),
            cell.tap,
            figure(cell.baseline, cell.metric),
            figure(cell.candidate, cell.metric),
            change(cell),
            cell.why,
        ]
        for cell in shown
    ]
    header = ["", *(name.replace("_", " ") for name in varying), "tap", "baseline", "candidate", "difference", "why"]
    filled = [at for at in range(len(header)) if any(row[at] for row in rows)]
    rows = [[row[at] for at in filled] for row in rows]
    return tabulate(rows, [header[at] for at in filled], tablefmt=tablefmt, disable_numparse=True) if rows else ""


def notes_of(result: Comparison) -> list[str]:
    """How to read the verdicts, and what is known of the two sides."""
    return [
        f"worse, better: the whole {100 * result.level:g} % interval of the difference (paired bootstrap over test "
        f"images) lies beyond the tolerance of {100 * result.tolerance:g} points",
        *(f"{name}: {told}" for name, told in zip(("baseline", "candidate"), result.sides, strict=True)),
        *(f"skipped: {path}: {reason}" for path, reason in result.damaged),
    ]


def change(cell: Compared) -> str:
    """The difference and its interval, with signs."""
    if cell.difference is None:
        return ""
    difference, low, high = (figure(value, cell.metric, "+") for value in (cell.difference, cell.low, cell.high))
    return difference if cell.low == cell.high else f"{difference} [{low}, {high}]"


def figure(value: float | None, metric: str, sign: str = "") -> str:
    """A number as it is printed: accuracies in percent."""
    if value is None:
        return ""
    return f"{100 * value:{sign}.1f}" if "accuracy" in metric else f"{value:{sign}.3f}"


def finite(value: object) -> object:
    """The value, None for a number that JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
