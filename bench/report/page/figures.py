"""The figures of a page: each as a data URI, with a text that says what it shows."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from ..overview import Overview
from ..render import Report
from ..tables import Table

MAX_FIGURE_BYTES = 1_500_000  # of all figures together


@dataclass(frozen=True)
class Figure:
    """A figure with its alternative text; without ``source`` where the page would become too large."""

    name: str  # of its file, without ending
    title: str
    text: str  # for readers who do not see it
    source: str | None  # a data URI
    protocol: str  # of its table; "" if it shows several tables


def embed_figures(report: Report) -> list[Figure]:
    """The figures of the report's PNG files, with what they show."""
    tables = {table.name: table for table in report.tables}
    overviews = {overview.name.partition("-")[2]: overview for overview in report.overviews}
    found, bytes_left = [], MAX_FIGURE_BYTES
    for path in (path for path in report.files if path.suffix == ".png"):
        content = as_webp(path, lossless=not path.stem.startswith("pictures-"))
        bytes_left -= math.ceil(len(content) * 4 / 3)  # base64 writes three bytes as four
        source = webp_uri(content) if bytes_left >= 0 else None
        kind, _, rest = path.stem.partition("-")
        protocol = ""
        if table := tables.get(path.stem):
            title, text, protocol = table.title, describe_table(table), table.protocol
        elif kind == "cost" and (table := tables.get(rest)):
            title = f"{table.title}, against the cost of pretraining"
            text, protocol = describe_cost(table), table.protocol
        elif kind == "pictures" and (table := tables.get(rest)):
            title = f"{table.title}: pictures"
            text = f"Pictures of {table.title}: a few test images, what is asked, and what the features answer."
            protocol = table.protocol
        elif overview := overviews.get(rest):
            title, text = f"{kind}: {overview.title}", describe_overview(overview, kind)
        else:
            words = path.stem.replace("-", " ")
            title, text = words, f"{words}: test images placed by the similarity of their features."
        found.append(Figure(path.stem, title, text, source, protocol))
    return found


def describe_table(table: Table) -> str:
    """What the figure of a table shows: how many rows, at which taps, and the best row with its number."""
    return f"Figure of {table.title}: {count_rows(table)} at {' and '.join(table.taps)}. {best_row(table)}"


def describe_cost(table: Table) -> str:
    """What the figure of a table's numbers against the cost of pretraining shows."""
    return f"Figure of {table.title}, against the cost of pretraining: {count_rows(table)}. {best_row(table)}"


def describe_overview(overview: Overview, kind: str) -> str:
    """What a heat map of an overview, or a figure of its mean ranks, shows."""
    lines = f"{len(overview.labels)} rows by {len(overview.columns)} columns"
    shown = "Heat map" if kind == "heatmap" else "Mean ranks"
    ranks = overview.mean_ranks
    best = min(ranks, key=ranks.__getitem__, default="")
    return f"{shown} of {overview.title}: {lines}." + (f" Best mean rank: {best}, {ranks[best]:.2f}." if best else "")


def count_rows(table: Table) -> str:
    """How many rows a table has, in words."""
    count = len(table.rows_by_label)
    return f"{count} row{'s' if count != 1 else ''}"


def best_row(table: Table) -> str:
    """The best measured row at the last tap, floor and ceiling left out; which these are, if there is nothing else."""
    rows: Sequence[Any] = [taps[-1] for _, taps in table.rows_by_label if not math.isnan(taps[-1].mean)]
    sign = 1 if table.higher_is_better else -1
    best = max((row for row in rows if not row.role), key=lambda row: sign * row.mean, default=None)
    if best is None:
        return "No method was measured."
    number = f"{table.format_number(best.mean)} {'%' if table.in_percent else table.unit}".strip()
    return f"Best at {best.tap}: {best.label}, {number}."


def figures_of(figures: Iterable[Figure], protocol: str) -> list[Figure]:
    """The figures that show tables of this protocol; "" for those of several tables."""
    return [figure for figure in figures if figure.protocol == protocol]


def as_webp(path: Path, *, lossless: bool) -> bytes:
    """A picture's file as WebP: lossless, which is smaller than PNG, or with a loss that suits photographs."""
    from PIL import Image

    content = BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(content, "webp", lossless=lossless, method=4)
    return content.getvalue()


def webp_uri(content: bytes) -> str:
    """A WebP image as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
