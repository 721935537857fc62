"""A comparison as text: for a terminal, a pull request's comment, programs and continuous integration."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import asdict
from html import escape
from xml.etree import ElementTree

from tabulate import tabulate

from ..records.measurement import format_number
from .compare import NAMES, CellComparison, Comparison

WIDTH = 100  # columns of a terminal
ALWAYS_SHOWN = ("method", "protocol")
"""Names that every row shows; other names are shown if they differ between rows."""


def as_text(result: Comparison) -> str:
    """What changed, for a terminal."""
    notes = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in reading_notes(result)]
    parts = (title(result), changes_table(result, "simple"), "\n".join(notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def as_markdown(result: Comparison) -> str:
    """What changed, for the comment on a pull request."""
    notes = "\n".join(f"- {note}" for note in reading_notes(result))
    return "\n\n".join(part for part in (f"### {title(result)}", changes_table(result, "pipe"), notes) if part) + "\n"


def as_html(result: Comparison) -> str:
    """What changed, for a notebook."""
    notes = "".join(f"<li>{escape(note)}</li>\n" for note in reading_notes(result))
    return f"<p><b>{escape(title(result))}</b></p>\n{changes_table(result, 'html')}\n<ul>\n{notes}</ul>\n"


def as_json(result: Comparison) -> str:
    """Every cell, also those without a change."""
    cells = [
        dict(zip(NAMES, cell.names, strict=True))
        | {name: finite(value) for name, value in asdict(cell).items() if name != "names"}
        for cell in result.cells
    ]
    content = {
        "exit_code": result.exit_code,
        "counts": result.counts,
        "tolerance": result.tolerance,
        "level": result.level,
        "baseline": result.sides[0],
        "candidate": result.sides[1],
        "damaged": {str(path): reason for path, reason in result.damaged},
        "cells": cells,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def as_junit(result: Comparison) -> str:
    """A test case per cell: worse is a failure, what could not be compared is an error, what is new is skipped."""
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
        names = dict(zip(NAMES, cell.names, strict=True))
        place = ".".join(str(names[name]) for name in ("protocol", "dataset", "encoder", "preset"))
        parts = (names["method"], names["checkpoint"], names["variant"], cell.tap)
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=" ".join(str(p) for p in parts if p))
        kind = {"worse": "failure", "incomparable": "error", "missing": "error", "new": "skipped"}.get(cell.verdict)
        if kind:
            message = ": ".join(part for part in (cell.verdict, change(cell), cell.why) if part)
            ElementTree.SubElement(case, kind, message=message)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def title(result: Comparison) -> str:
    """How many cells got which verdict."""
    return "compare: " + ", ".join(f"{count} {verdict}" for verdict, count in result.counts.items())


def changes_table(result: Comparison, tablefmt: str) -> str:
    """A row for each cell that is not the same; "" if all are. Columns that would be empty are left out."""
    varying = [
        name
        for name, values in zip(NAMES, zip(*(cell.names for cell in result.cells), strict=True), strict=True)
        if name in ALWAYS_SHOWN or len(set(values)) > 1
    ]
    rows = [
        [
            cell.verdict,
            *(str(dict(zip(NAMES, cell.names, strict=True))[name] or "") for name in varying),
            cell.tap,
            figure(cell.baseline, cell.unit),
            figure(cell.candidate, cell.unit),
            change(cell),
            cell.why,
        ]
        for cell in result.cells
        if cell.verdict != "same"
    ]
    header = ["", *(name.replace("_", " ") for name in varying), "tap", "baseline", "candidate", "difference", "why"]
    filled = [at for at in range(len(header)) if any(row[at] for row in rows)]
    rows = [[row[at] for at in filled] for row in rows]
    return tabulate(rows, [header[at] for at in filled], tablefmt=tablefmt, disable_numparse=True) if rows else ""


def reading_notes(result: Comparison) -> list[str]:
    """How to read the verdicts, and what is known of the two sides."""
    return [
        f"worse, better: the whole {100 * result.level:g} % interval of the difference (paired bootstrap over test "
        f"images) is beyond the tolerance of {100 * result.tolerance:g} points",
        *(f"{name}: {side}" for name, side in zip(("baseline", "candidate"), result.sides, strict=True)),
        *(f"skipped: {path}: {reason}" for path, reason in result.damaged),
    ]


def change(cell: CellComparison) -> str:
    """The difference and its interval, with signs."""
    if cell.difference is None:
        return ""
    difference, low, high = (figure(value, cell.unit, "+") for value in (cell.difference, cell.low, cell.high))
    return difference if cell.low == cell.high else f"{difference} [{low}, {high}]"


def figure(value: float | None, unit: str, sign: str = "") -> str:
    """A number as it is printed; nothing where there is none."""
    return "" if value is None else format_number(value, unit, sign=sign)


def finite(value: object) -> object:
    """The value; None for a number that JSON lacks."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
