"""The report as one web page that needs no network: leaderboards, tables, figures, and every cell with its origin.

``page.html`` is a Jinja template. It is filled with the style sheet, the scripts and the data of the cells as JSON, so
the page is a single file that a browser opens from disk. The leaderboards and tables are HTML that is complete without
the scripts, which sort, filter and open details. All numbers are text from `format_number`; no script formats one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...plugins.method_kinds import KINDS
from ...records.mistakes import PER_TAP
from ..render import Report
from ..table_formats import as_html
from .cells import collect_cells
from .figures import embed_figures, figures_of
from .leaderboard import build_boards
from .tabs import build_tabs

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("page.js", "leaderboard.js", "cells.js", "start.js")


def render_page(report: Report, title: str = "Comparison of self-supervised methods") -> str:
    """The HTML of a report's page."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    cells, figures = collect_cells(report.tables), embed_figures(report)
    return environment.get_template("page.html").render(
        title=title,
        summary=summarise(cells, len(report.tables)),
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script="\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS),
        boards=build_boards(report.tables),
        kinds=KINDS,
        tabs=build_tabs(report.tables, figures),
        overviews=[as_html(overview) for overview in report.overviews],
        figures=figures_of(figures, ""),
        data={"cells": cells, "pictures_per_tap": PER_TAP},
    )


def summarise(cells: Sequence[dict[str, Any]], tables: int) -> str:
    """How many cells and tables the page holds, how many cells failed, and the date of the newest."""
    newest = max((str(cell["provenance"].get("created") or "") for cell in cells), default="")
    failed = sum(cell["columns"]["status"] == "failed" for cell in cells)
    summary = f"{len(cells)} cells, {tables} tables" + (f", {failed} failed" if failed else "")
    return summary + (f"; newest measurement {newest[:10]}" if newest else "")
