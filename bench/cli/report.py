"""The commands ``report`` and ``compare``, and the tables that ``run`` prints: all made from records alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..api.request import comma_separated, path_of
from ..api.results import Results, compare, load
from ..errors import printable
from .options import Parser, add_plugin_option

if TYPE_CHECKING:
    from ..report.render import Report


def print_results(results: Results) -> Report:
    """Prints the tables of results, saves those of their whole folder and names the files; returns what was saved."""
    print_skipped(results)
    whole = results.save()
    print(printable(whole.text if results.methods is None else results.text, keep="\n"))
    for path in whole.files:
        print(f"{path.parent.name:8} {path}")
    return whole


def print_skipped(results: Results) -> None:
    """Names each file that is skipped, and why, on the error stream."""
    for path, reason in results.skipped:
        print(printable(f"skipped: {path}: {reason}"), file=sys.stderr)


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
    results = load(options.results)
    if options.card:
        from ..report.card import cell_card, find_record

        print_skipped(results)
        print(printable(cell_card(find_record(results.records, options.card)), keep="\n"), end="")
        return 0
    if options.methods is not None:
        results = results.select(options.methods)
    whole = print_results(results)
    for path in results.remove_outdated(whole):
        print(f"removed  {path}, which this report does not make")
    if options.html:
        page = results.page_file if options.html is True else options.html
        results.save_page(page, whole)
        print(f"page     {page}")
    return 0


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
    from ..storage.atomic import atomic_write

    result = compare(
        options.baseline,
        options.candidate,
        tolerance=options.tolerance,
        level=options.level,
        methods=options.methods,
        plugin=options.plugin,
    )
    print(printable(comparison_formats.as_text(result), keep="\n"), end="")
    for path, render in (
        (options.json, comparison_formats.as_json),
        (options.markdown, comparison_formats.as_markdown),
        (options.junit, comparison_formats.as_junit),
    ):
        if path:
            atomic_write(path, render(result).encode())
    return result.exit_code
