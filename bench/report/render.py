"""The report: tables and figures, made from records alone.

Only comparable records are ranked together: records that differ in protocol card, data, encoder, preset or budget get
tables of their own. Notes below each table say what a reader must know to judge a row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..records.comparable import CEILING, FLOOR, newest_of_each_cell
from ..records.record import Record
from ..records.store import file_stem
from ..storage.atomic import atomic_write
from .groups import group_comparable
from .overview import Overview, build_overviews
from .plots.cost import save_cost
from .plots.dots import save_dots
from .plots.heatmap import save_heat_map
from .plots.pictures import save_pictures
from .plots.ranks import save_ranks
from .table_formats import as_csv, as_html, as_latex, as_markdown, as_text
from .tables import Table, build_tables

if TYPE_CHECKING:
    from ..protocol import Protocol

TABLE_FORMATS = {"md": as_markdown, "csv": as_csv, "tex": as_latex, "html": as_html}
FIGURE_FORMATS = ("png", "svg")
FORMATS = (*TABLE_FORMATS, *FIGURE_FORMATS)
FIGURE_KINDS = ("heatmap", "ranks")


@dataclass
class Report:
    """The text to print, the files that were written or are up to date, and what they show."""

    text: str = ""
    files: list[Path] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    overviews: list[Overview] = field(default_factory=list)


def write_report(
    records: Iterable[Record],
    *,
    folder: Path,
    methods: Sequence[str] | None = None,
    headlines: Mapping[str, str] | None = None,
    protocols: Mapping[str, type[Protocol]] | None = None,
    formats: Collection[str] = FORMATS,
    whole: bool = False,
) -> Report:
    """A table and a figure for each group of comparable records, saved under ``folder``.

    ``headlines``: protocol -> the metric to show, accuracy where none is named. ``protocols``: those that show their
    records in their own way. ``whole`` adds overviews of several protocols, and accuracy against the cost of
    pretraining.
    """
    wanted = {*methods, CEILING, FLOOR} if methods is not None else None
    counting, superseded = newest_of_each_cell(r for r in records if wanted is None or r.cell.method in wanted)
    groups = group_comparable(counting)
    report = Report(tables=build_tables(groups, methods or (), headlines or {}, protocols or {}))
    for table in report.tables:
        report.text += as_text(table) + "\n"
        report.files += save_tables(table, folder / "tables", formats)
        report.files += save_dots(table, folder / "figures", formats)
        if whole:
            report.files += save_cost(table, folder / "figures", formats)
    if whole:
        report.overviews = build_overviews(report.tables)
        for overview in report.overviews:
            report.text += as_text(overview) + "\n"
            report.files += save_tables(overview, folder / "tables", formats)
            report.files += save_heat_map(overview, folder / "figures", formats)
            report.files += save_ranks(overview, folder / "figures", formats)
    for table in report.tables:  # last, so that they are the first that a page leaves out for size
        report.files += save_pictures(table, folder / "figures", formats)
    report.text += superseded_line(superseded)
    return report


def superseded_line(superseded: Sequence[tuple[Record, Record]]) -> str:
    """A line that names the records that a newer one of the same cell replaces; "" if there are none."""
    pairs = [f"{file_stem(old)} (newer: {new.key})" for old, new in superseded]
    return f"superseded, since the same cell was measured again: {', '.join(pairs)}\n" if pairs else ""


def remove_outdated(folder: Path, current: Iterable[Path], protocols: Collection[str]) -> list[Path]:
    """Delete files of earlier reports that this one no longer makes; returns their paths.

    Only names that a report gives to its files are deleted: a kind, data set, encoder, preset and six hex digits.
    """
    tables, figures = "|".join(map(re.escape, sorted({*protocols, "overview"}))), "|".join(FIGURE_KINDS)
    kinds = {
        "tables": (tables, TABLE_FORMATS),
        "figures": (f"({figures})|((cost|pictures)-)?({tables})", FIGURE_FORMATS),
    }
    kept, removed = set(current), []
    for name, (kind, endings) in kinds.items():
        pattern = re.compile(rf"(?:{kind})(?:-[^-]+){{3}}-[0-9a-f]{{6}}\.(?:{'|'.join(endings)})")
        for path in sorted((folder / name).glob("*")):
            if path not in kept and pattern.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def save_tables(table: Table | Overview, folder: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Write the table's text files if their content is new; returns the paths."""
    paths = []
    for ending in (ending for ending in TABLE_FORMATS if ending in formats):
        path = folder / f"{table.name}.{ending}"
        content = TABLE_FORMATS[ending](table).encode()
        if not path.exists() or path.read_bytes() != content:
            atomic_write(path, content)
        paths.append(path)
    return paths
