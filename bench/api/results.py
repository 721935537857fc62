"""Measured results: records, and the tables, figures and pages that are made from them alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import UserError, did_you_mean, program_name
from ..plugins.discovery import ROOT, find_plugins
from .request import PathLike, methods as method_names, path_of, paths
from .shown import Figures, Tables, draw_figures

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..planning.plan import Plan
    from ..records.record import Record
    from ..report.compare import Comparison
    from ..report.render import Report
    from ..report.tables import Table

Skipped = list[tuple[Path, str]]  # files that are not records, each with the reason


@dataclass(frozen=True, repr=False)
class Results:
    """Records of measured cells, and what is made from them alone: a data frame, tables, figures and comparisons."""

    records: list[Record]
    folder: Path  # that contains records/
    skipped: Skipped = field(default_factory=list)  # files that are not records, each with the reason
    methods: tuple[str, ...] | None = None  # show only these, in this order, with floor and ceiling; None: all
    plugin_files: tuple[str, ...] = ()  # of protocols that show their records in their own way
    saved_records: list[Record] | None = None  # what `save` makes tables of; None: of `records`

    @property
    def failed(self) -> list[Record]:
        """The records of cells that failed; ``error`` says why."""
        return [record for record in self.records if record.failed]

    @cached_property
    def frame(self) -> DataFrame:
        """A row per cell, tap and metric, with the cell's names, its value with its interval, and its cost."""
        from ..records.comparable import newest_of_each_cell
        from ..report.frame import records_frame

        return records_frame(newest_of_each_cell(self.records)[0])

    @property
    def files(self) -> list[Path]:
        """The files that exist: those of the records, and the tables, figures and pages of their folder."""
        from ..records.store import EXAMPLES

        stems = [(record.folder or self.folder / "records", file_stem_of(record)) for record in self.records]
        own = [place / f"{stem}{ending}" for place, stem in stems for ending in (".json", ".npz", ".webp", EXAMPLES)]
        made = [path for name in ("tables", "figures") for path in sorted((self.folder / name).glob("*"))]
        return [path for path in (*own, *made, *sorted(self.folder.glob("*.html"))) if path.is_file()]

    def table(self, protocol: str | None = None, *, encoder: str | None = None) -> Tables:
        """The report's tables, of one protocol or encoder or of all. They show as text, and as tables in a notebook.

        Raises UserError if there is no record of the protocol or encoder.
        """
        tables = self._shown.tables
        for wanted, name_of in ((protocol, protocol_of), (encoder, encoder_of)):
            known = set(map(name_of, tables))
            if wanted is not None and wanted not in known:
                raise UserError(f"table: {self.folder} has no record of {wanted!r}. {did_you_mean(wanted, known)}")
            tables = [table for table in tables if wanted in (None, name_of(table))]
        return Tables(tables)

    def plot(self, protocol: str | None = None, *, encoder: str | None = None) -> Figures:
        """The figures of matplotlib that belong to `table`, one per table. They show as pictures in a notebook."""
        return draw_figures(self.table(protocol, encoder=encoder))

    def compare(self, other: Results | PathLike, **options: Any) -> Comparison:
        """Which cells of ``other`` are worse or better than these; ``options`` as for `sslbench.compare`."""
        return compare(self, other, **options)

    @cached_property
    def text(self) -> str:
        """The tables as the command line prints them; overviews of several protocols are of all methods only."""
        return self._report(self.folder, formats=(), whole=self.methods is None).text

    def __repr__(self) -> str:
        return f"<Results of {self.summary}>"

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        shown = Tables(self._shown.overviews or self._shown.tables)
        failures = "".join(
            f"<li>failed: {escape(file_stem_of(record))}: {escape(record.error or '')}</li>" for record in self.failed
        )
        return f"<p>{escape(self.summary)}</p>\n<ul>{failures}</ul>\n{shown.html}"

    @property
    def summary(self) -> str:
        """How many records there are of what, in one line."""
        counts = {
            "record": len(self.records),
            "method": len({record.cell.method for record in self.records}),
            "protocol": len({record.cell.protocol for record in self.records}),
            "failed": len(self.failed),
            "skipped file": len(self.skipped),
        }
        words = [
            f"{count} {name}" + "s" * (count != 1 and name != "failed")
            for name, count in counts.items()
            if count or name == "record"
        ]
        return f"{self.folder}: {', '.join(words)}"

    @cached_property
    def _shown(self) -> Report:
        """The report of what is shown, without files."""
        return self._report(self.folder, formats=(), whole=True)

    def save(self) -> Report:
        """Saves tables and figures in the folder, of all its records whatever is shown; returns what was made."""
        saved = self.records if self.saved_records is None else self.saved_records
        everything = replace(self, methods=None, records=saved)
        return everything._report(self.folder, whole=True)

    def remove_outdated(self, whole: Report) -> list[Path]:
        """Deletes files of earlier reports of the folder that ``whole``, which `save` returned, lacks; their paths."""
        from ..report.render import remove_outdated

        records = self.records if self.saved_records is None else self.saved_records
        protocols = find_plugins("protocol", self.plugin_files).keys() | {record.cell.protocol for record in records}
        return remove_outdated(self.folder, whole.files, protocols)

    @property
    def page_file(self) -> Path:
        """The file of the web page: report.html in the folder, or a name of its own for some methods."""
        from ..records.store import file_name

        return self.folder / (file_name("report", *(self.methods or ())) + ".html")

    def save_page(self, file: Path, whole: Report) -> None:
        """Writes one web page with everything that is shown; ``whole`` is what `save` returned."""
        from ..report.page import render_page
        from ..storage.atomic import atomic_write

        with TemporaryDirectory() as folder:  # the figures of a subset are shown in its page only
            shown = whole if self.methods is None else self._report(Path(folder), whole=True)
            # Maps are drawn from encoders, not from records: the page shows those that are there.
            shown.files += sorted((self.folder / "figures").glob("map-*.png"))
            atomic_write(file, render_page(shown).encode())

    def select(self, methods: str | Iterable[str]) -> Results:
        """The results of these methods alone, in this order, with floor and ceiling.

        Raises UserError if there is no record of a method.
        """
        wanted, measured = method_names(methods), {record.cell.method for record in self.records}
        if not wanted:
            raise UserError("--methods: names nothing.")
        for name in wanted:
            if name not in measured:
                raise UserError(f"--methods: {self.folder} has no record of {name!r}. {did_you_mean(name, measured)}")
        from ..records.comparable import CEILING, FLOOR

        records = [record for record in self.records if record.cell.method in {*wanted, CEILING, FLOOR}]
        saved = self.records if self.saved_records is None else self.saved_records
        return replace(self, methods=wanted, records=records, saved_records=saved)

    def _report(self, folder: Path, **options: Any) -> Report:
        """The report of the records; ``options`` as for `render.write_report`."""
        from ..report.render import write_report

        protocols = find_plugins("protocol", self.plugin_files)
        used = {record.cell.protocol for record in self.records} & protocols.keys()
        headlines = {name: str(protocols[name].constants.get("headline") or "accuracy") for name in used}
        # Loading a protocol may import torch, so only those that draw their own tables or figures are loaded.
        own = {name: protocols[name].load() for name in used if protocols[name].functions & {"table", "notes", "plot"}}
        return write_report(
            self.records, folder=folder, methods=self.methods, headlines=headlines, protocols=own, **options
        )


def load(folder: PathLike, *, plugin: PathLike | Iterable[PathLike] = ()) -> Results:
    """The results in a folder that contains records/; files that are no records are in `Results.skipped`.

    Raises UserError if there are no records. ``plugin`` names files of protocols that are not part of this project.
    """
    from ..records.store import read_all
    from ..report.compare import records_folder

    records = records_folder(path_of(folder))
    found, damaged = read_all(records)
    if not found:
        first = f" {len(damaged)} files are no records, the first: {damaged[0][0]}: {damaged[0][1]}." if damaged else ""
        raise UserError(
            f"{folder}: contains no records; make some, for example with "
            f"{program_name()} --methods rotnet --results {folder}.{first}"
        )
    return Results(found, records.parent, damaged, plugin_files=paths(plugin))


def compare(
    baseline: Results | PathLike,
    candidate: Results | PathLike,
    *,
    tolerance: float = 0.01,
    level: float = 0.95,
    methods: str | Iterable[str] | None = None,
    plugin: PathLike | Iterable[PathLike] = (),
) -> Comparison:
    """Which cells of one results folder are worse or better than those of another, by paired tests on the same images.

    A cell counts only if the whole interval of ``level`` is beyond ``tolerance``, a share of the images. In the result,
    ``worse`` lists the cells that got worse, and ``exit_code`` is 0 if none did. Raises UserError for a mistake.
    """
    from ..report.compare import compare_records

    old, new = (side if isinstance(side, Results) else load(side) for side in (baseline, candidate))
    known = find_plugins("protocol", (*old.plugin_files, *new.plugin_files, *paths(plugin)))
    compared = compare_records(
        old.records,
        new.records,
        tolerance=tolerance,
        level=level,
        methods=None if methods is None else method_names(methods),
        headlines={name: plugin.constants.get("headline", "") for name, plugin in known.items()},
    )
    return replace(compared, damaged=old.skipped + new.skipped)


def protocol_of(table: Table) -> str:
    """The protocol of a table."""
    return table.protocol


def encoder_of(table: Table) -> str:
    """The encoder of a table's records."""
    return table.records[0].cell.encoder


def file_stem_of(record: Record) -> str:
    """The name of a record's files without ending."""
    from ..records.store import file_stem

    return file_stem(record)


def results_of_plan(plan: Plan) -> Results:
    """The results of a plan's cells.

    The tables and figures that are saved are those of the whole results folder, with the committed records used here.
    """
    folder = plan.request.results
    found, damaged = read_all_records(folder)
    wanted = {cell.key for job in plan.jobs for cell in job.cells}
    newest = {record.key: record for record in found if record.key in wanted}
    own = {record.key: record for record in found if record.folder == Path(os.path.abspath(folder)) / "records"}
    return Results(
        list(newest.values()),
        folder,
        damaged,
        tuple(dict.fromkeys(job.method.name for job in plan.jobs)),
        plan.request.plugin_files,
        saved_records=[*(record for key, record in newest.items() if key not in own), *own.values()],
    )


def read_all_records(results: Path) -> tuple[list[Record], Skipped]:
    """The records committed with this project, then those of a results folder; and the damaged files of the latter."""
    from ..records.store import read_all

    folders = sorted(ROOT.glob("results/*/records"))
    committed = [r for folder in folders if folder.parent != results.resolve() for r in read_all(folder)[0]]
    own, damaged = read_all(results / "records")
    return committed + own, damaged
