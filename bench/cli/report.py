"""The commands ``report`` and ``compare``, and the tables that ``run`` prints: all made from records alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import UserError, did_you_mean, program_name
from ..plugins.discovery import ROOT, find_plugins
from .options import Parser, add_plugin_option, comma_separated, path_of

if TYPE_CHECKING:
    import argparse

    from ..planning.plan import Plan
    from ..records.record import Record
    from ..report.render import Report

Damaged = list[tuple[Path, str]]  # files that are not records, each with the reason


def print_plan_tables(plan: Plan) -> None:
    """Prints the tables of a plan's cells, with floor and ceiling if they have been measured.

    The tables and figures that are saved are those of the whole results folder, with the committed records used here.
    """
    results = plan.request.results
    found, damaged = read_all_records(results)
    wanted = {cell.key for job in plan.jobs for cell in job.cells} | plan.reference_keys
    newest = {record.key: record for record in found if record.key in wanted}
    methods = tuple(dict.fromkeys(job.method.name for job in plan.jobs))
    own = {record.key: record for record in found if record.folder == Path(os.path.abspath(results)) / "records"}
    print_damaged(damaged)
    saved = [*(record for key, record in newest.items() if key not in own), *own.values()]
    print_tables(list(newest.values()), results, methods, plan.request.plugin_files, saved=saved)
    print(f"records  {results / 'records'}")


def read_all_records(results: Path) -> tuple[list[Record], Damaged]:
    """The records committed with this project, then those of a results folder; and the damaged files of the latter."""
    from ..records.store import read_all

    folders = sorted(ROOT.glob("results/*/records"))
    committed = [r for folder in folders if folder.parent != results.resolve() for r in read_all(folder)[0]]
    own, damaged = read_all(results / "records")
    return committed + own, damaged


def print_tables(
    found: list[Record],
    results: Path,
    methods: tuple[str, ...] | None,
    plugin_files: tuple[str, ...] = (),
    *,
    saved: list[Record],
) -> Report:
    """Prints the tables of records, saves those of ``saved``, and names the files; returns what was saved.

    What is saved is of the whole folder, whatever was asked for.
    """
    whole = made_report(saved, results, None, plugin_files, whole=True)
    if methods is None:
        print(whole.text)
    else:
        print(made_report(found, results, methods, plugin_files, formats=()).text)
    for path in whole.files:
        print(f"{path.parent.name:8} {path}")
    return whole


def made_report(
    found: list[Record],
    folder: Path,
    methods: tuple[str, ...] | None,
    plugin_files: tuple[str, ...] = (),
    **options: Any,
) -> Report:
    """The report of records, with each protocol's own tables and figures; ``options`` as for `render.write_report`."""
    from ..report.render import write_report

    protocols = find_plugins("protocol", plugin_files)
    used = {record.cell.protocol for record in found} & protocols.keys()
    headlines = {name: str(protocols[name].constants.get("headline") or "accuracy") for name in used}
    # Loading a protocol may import torch, so only those that draw their own tables or figures are loaded.
    own = {name: protocols[name].load() for name in used if protocols[name].functions & {"table", "notes", "plot"}}
    return write_report(found, folder=folder, methods=methods, headlines=headlines, protocols=own, **options)


def print_damaged(damaged: Damaged) -> None:
    """Names each file that is skipped, and why, on the error stream."""
    for path, reason in damaged:
        print(f"skipped: {path}: {reason}", file=sys.stderr)


def report_command(words: list[str]) -> int:
    """Prints and saves the tables of all records in a results folder."""
    parser = Parser("report", description="Makes tables and figures from the records of a folder.")
    parser.add_argument(
        "--results",
        type=path_of,
        default=Path("results/local"),
        metavar="DIR",
        help="folder that contains records/ (default results/local)",
    )
    parser.add_argument(
        "--methods",
        type=comma_separated,
        metavar="A,B",
        help="print only these methods, with floor and ceiling; what is saved is of the whole folder",
    )
    parser.add_argument(
        "--card",
        metavar="CELL",
        help="print everything about one cell and the command that measures it again; CELL is its key, or words of its "
        "file's name",
    )
    parser.add_argument(
        "--html",
        type=path_of,
        nargs="?",
        const=True,
        metavar="FILE",
        help="also write everything into one web page (default report.html in --results; with --methods a "
        "name of its own)",
    )
    options = parser.parse_args(words)
    from ..records.store import read_all

    found, damaged = read_all(options.results / "records")
    if not found:
        print_damaged(damaged)
        raise UserError(
            f"{options.results}: contains no records; make some, for example with "
            f"{program_name()} --methods rotnet --results {options.results}"
        )
    check_methods(options.methods, {record.cell.method for record in found}, options.results)
    if options.card:
        from ..report.card import cell_card, find_record

        print(cell_card(find_record(found, options.card)), end="")
        return 0
    from ..report.render import remove_outdated

    print_damaged(damaged)
    rendered = print_tables(found, options.results, options.methods, saved=found)
    protocols = find_plugins("protocol").keys() | {record.cell.protocol for record in found}
    for path in remove_outdated(options.results, rendered.files, protocols):
        print(f"removed  {path}, which this report does not make")
    if options.html:
        write_page(options, found, rendered)
    return 0


def write_page(options: argparse.Namespace, found: list[Record], whole: Report) -> None:
    """Writes the web page of a folder, or of ``--methods`` alone, which has a name of its own."""
    from ..records.store import file_name
    from ..report.page import render_page
    from ..storage.atomic import atomic_write

    name = file_name("report", *(options.methods or ())) + ".html"
    file = options.results / name if options.html is True else options.html
    with TemporaryDirectory() as folder:  # the figures of a subset are shown in its page only
        shown = whole
        if options.methods is not None:
            shown = made_report(found, Path(folder), options.methods, whole=True)
        # Maps are drawn from encoders, not from records: the page shows those that are there.
        shown.files += sorted((options.results / "figures").glob("map-*.png"))
        atomic_write(file, render_page(shown).encode())
    print(f"page     {file}")


def check_methods(wanted: Iterable[str] | None, measured: set[str], results: Path) -> None:
    """Raises UserError if ``--methods`` names one without a record in the folder."""
    if wanted is not None and not (wanted := list(wanted)):
        raise UserError("--methods: names nothing.")
    for name in wanted or ():
        if name not in measured:
            raise UserError(f"--methods: {results} has no record of {name!r}. {did_you_mean(name, measured)}")


def compare_command(words: list[str]) -> int:
    """Prints which cells of a results folder are worse or better than those of another."""
    parser = Parser(
        "compare",
        description="Did anything get worse? Exit code 0: no; 1: yes; 2: something cannot be compared.",
    )
    parser.add_argument("baseline", type=path_of, metavar="BASELINE", help="folder that contains records/")
    parser.add_argument("candidate", type=path_of, metavar="CANDIDATE", help="the folder to compare with it")
    parser.add_argument(
        "--tolerance", type=float, default=0.01, metavar="SHARE", help="differences that do not matter (default 0.01)"
    )
    parser.add_argument("--level", type=float, default=0.95, metavar="SHARE", help="of the intervals (default 0.95)")
    parser.add_argument("--methods", type=comma_separated, metavar="A,B", help="only these methods")
    contents = {"json": "every cell", "markdown": "what changed", "junit": "one test case per cell, as XML"}
    for name, content in contents.items():
        parser.add_argument(f"--{name}", type=path_of, metavar="FILE", help=f"also write {content}")
    add_plugin_option(parser)
    options = parser.parse_args(words)
    from ..report import comparison_formats
    from ..report.compare import compare_folders
    from ..storage.atomic import atomic_write

    known = find_plugins("protocol", tuple(options.plugin))
    result = compare_folders(
        options.baseline,
        options.candidate,
        tolerance=options.tolerance,
        level=options.level,
        methods=options.methods,
        headlines={name: plugin.constants.get("headline", "") for name, plugin in known.items()},
    )
    print(comparison_formats.as_text(result), end="")
    for path, render in (
        (options.json, comparison_formats.as_json),
        (options.markdown, comparison_formats.as_markdown),
        (options.junit, comparison_formats.as_junit),
    ):
        if path:
            atomic_write(path, render(result).encode())
    return result.exit_code
