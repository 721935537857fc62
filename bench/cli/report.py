"""What stands in a results folder: the tables after a run, and the verbs that report and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins import discovery as plugins
from .options import Parser, comma

if TYPE_CHECKING:
    from ..planning.plan import Plan
    from ..records.record import Record
    from ..report.render import Report


def tell(planned: Plan) -> None:
    """Shows the cells of a plan, with floor and ceiling where they have been measured."""
    results = planned.request.results
    found, damaged = gathered(results)
    wanted = {cell.key for job in planned.jobs for cell in job.cells} | planned.reference_keys
    chosen = {record["key"]: record for record in found if record["key"] in wanted}
    methods = tuple(dict.fromkeys(job.method.name for job in planned.jobs))
    show_tables(list(chosen.values()), damaged, results, methods, planned.request.plugin_files)
    print(f"records  {results / 'records'}")


def gathered(results: Path) -> tuple[list[Record], list[tuple[Path, str]]]:
    """The project's own records and those of a results folder after them; and the damaged files among the latter."""
    from ..records.record import read_all

    folders = sorted(plugins.ROOT.glob("results/*/records"))
    committed = [r for folder in folders if folder.parent != results.resolve() for r in read_all(folder)[0]]
    own, damaged = read_all(results / "records")
    return committed + own, damaged


def show_tables(
    found: list[Record],
    damaged: list[tuple[Path, str]],
    results: Path,
    methods: tuple[str, ...] | None,
    plugin_files: tuple[str, ...] = (),
    *,
    whole: bool = False,
) -> Report:
    """Prints and saves the tables of records, and names damaged files and those written; see `render.report`."""
    from ..report.render import report as reported

    for path, reason in damaged:
        print(f"skipped: {path}: {reason}", file=sys.stderr)
    protocols = plugins.plugins("protocol", plugin_files)
    asked = {record["cell"]["protocol"] for record in found} & protocols.keys()
    headlines = {name: str(protocols[name].constants.get("headline") or "accuracy") for name in asked}
    # Loading a protocol may import torch, for which methods by taps need not wait.
    own = {name: protocols[name].load() for name in asked if protocols[name].functions & {"table", "notes", "plot"}}
    made = reported(found, folder=results, methods=methods, headlines=headlines, protocols=own, whole=whole)
    print(made.text)
    for path in made.files:
        print(f"{path.parent.name:8} {path}")
    return made


def report(words: list[str]) -> int:
    """Prints and saves the tables of all records in a results folder."""
    made = Parser(prog="run_bench.py report", description="Tables and figures from records alone.", allow_abbrev=False)
    made.add_argument(
        "--results",
        type=Path,
        default=Path("results/local"),
        metavar="DIR",
        help="folder that holds records/ (default results/local)",
    )
    made.add_argument("--methods", type=comma, metavar="A,B", help="only these, with floor and ceiling")
    made.add_argument(
        "--card",
        metavar="CELL",
        help="instead all that is known of one cell and how to measure it again; its key, or words of its file's name",
    )
    made.add_argument(
        "--html",
        type=Path,
        nargs="?",
        const=True,
        metavar="FILE",
        help="also one web page of everything (default report.html in --results)",
    )
    options = made.parse_args(words)
    from ..records.record import read_all

    found, damaged = read_all(options.results / "records")
    if not found:
        for path, reason in damaged:
            print(f"skipped: {path}: {reason}", file=sys.stderr)
        raise UserError(
            f"{options.results}: holds no records; "
            f"python run_bench.py --methods rotnet --results {options.results} makes some."
        )
    if options.card:
        from ..report.card import card, chosen

        print(card(chosen(found, options.card)), end="")
        return 0
    reported = show_tables(found, damaged, options.results, options.methods, whole=True)
    if options.html:
        from ..report.page import page
        from ..storage.atomic import write_whole

        file = options.results / "report.html" if options.html is True else options.html
        # A map is drawn from encoders, not from records: it is shown where there is one.
        reported.files += sorted((options.results / "figures").glob("map-*.png"))
        write_whole(file, page(reported).encode())
        print(f"page     {file}")
    return 0


def compare(words: list[str]) -> int:
    """Tells which cells of a results folder got worse or better than those of another."""
    made = Parser(
        prog="run_bench.py compare",
        description="Did anything get worse? Exit code 0: no; 1: yes; 2: something cannot be compared, and why.",
        allow_abbrev=False,
    )
    made.add_argument("baseline", type=Path, metavar="BASELINE", help="folder that holds records/")
    made.add_argument("candidate", type=Path, metavar="CANDIDATE", help="another")
    made.add_argument(
        "--tolerance", type=float, default=0.01, metavar="SHARE", help="differences that do not matter (default 0.01)"
    )
    made.add_argument("--level", type=float, default=0.95, metavar="SHARE", help="of the intervals (default 0.95)")
    made.add_argument("--methods", type=comma, metavar="A,B", help="only these")
    for name, what in (("json", "every cell"), ("markdown", "what changed"), ("junit", "a test case a cell, XML")):
        made.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"also write {what}")
    made.add_argument("--plugin", action="append", default=[], metavar="FILE")
    options = made.parse_args(words)
    from ..report import comparison_formats as verdicts
    from ..report.compare import compared
    from ..storage.atomic import write_whole

    known = plugins.plugins("protocol", tuple(options.plugin))
    result = compared(
        options.baseline,
        options.candidate,
        tolerance=options.tolerance,
        level=options.level,
        methods=options.methods,
        headlines={name: plugin.constants.get("headline", "") for name, plugin in known.items()},
    )
    print(verdicts.plain(result), end="")
    for path, told in (
        (options.json, verdicts.as_json),
        (options.markdown, verdicts.markdown),
        (options.junit, verdicts.junit),
    ):
        if path:
            write_whole(path, told(result).encode())
    return result.exit_code
