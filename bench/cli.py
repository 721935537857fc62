"""Arguments, progress and exit codes: 0 done, 1 a cell failed or got worse, 2 it could not be done, 130 interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import plugins
from bench.arguments import Parser, comma, parser, request_of
from bench.errors import UserError, did_you_mean
from bench.progress import Interrupted, followed

if TYPE_CHECKING:
    from bench.planning import Plan
    from bench.records import Record
    from bench.report import Report

VERBS = ("run", "list", "pretrain", "show", "map", "fetch", "export", "report", "compare")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words.pop(0) if words and not words[0].startswith("-") else "run"
    try:
        if verb not in VERBS:
            raise UserError(f"{verb!r} is no verb. {did_you_mean(verb, VERBS)}")
        verbs = {
            "run": run,
            "list": show_list,
            "pretrain": pretrain,
            "show": show,
            "map": draw_map,
            "fetch": fetch,
            "export": export,
            "report": report,
            "compare": compare,
        }
        return verbs[verb](words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted:
        print("\nStopped. Everything measured is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


def run(words: list[str]) -> int:
    """Measures the cells that are missing and prints the table."""
    options = parser("run").parse_args(words)
    planned = planned_from(options)
    if options.dry_run:
        print(forecast(planned))
        return 0
    failed = 0
    if planned.missing:
        from bench import processes, runner

        with processes.joined(planned):
            if processes.rank():  # the others help to pretrain, the first alone probes and prints
                for _ in runner.pretrained(replace(planned, jobs=planned.missing)):
                    pass
                return 0
            for event in followed(runner.run(planned)):
                if isinstance(event, runner.Measured) and event.record["status"] == "failed":
                    failed += 1
                    print(f"failed: {event.record['cell']['method']}: {event.record['error']}", file=sys.stderr)
    tell(planned)
    return 1 if failed else 0


def planned_from(options: argparse.Namespace) -> Plan:
    """The plan of parsed options; planning needs numpy, which ``--help`` and ``list`` need not wait for."""
    from bench.planning import plan

    planned = plan(request_of(options))
    for line in planned.left_out:
        print(f"left out: {line}", file=sys.stderr)
    return planned


def tell(planned: Plan) -> None:
    """Shows the cells of a plan, with floor and ceiling where they have been measured."""
    results = planned.request.results
    found, damaged = gathered(results)
    wanted = {cell.key for job in planned.jobs for cell in job.cells} | planned.bounds
    chosen = {record["key"]: record for record in found if record["key"] in wanted}
    methods = tuple(dict.fromkeys(job.method.name for job in planned.jobs))
    show_tables(list(chosen.values()), damaged, results, methods, planned.request.plugin_files)
    print(f"records  {results / 'records'}")


def show_tables(
    found: list[Record],
    damaged: list[tuple[Path, str]],
    results: Path,
    methods: tuple[str, ...] | None,
    plugin_files: tuple[str, ...] = (),
    *,
    whole: bool = False,
) -> Report:
    """Prints and saves the tables of records, and names damaged files and those written; see `bench.report.report`."""
    from bench.report import report as reported

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


def gathered(results: Path) -> tuple[list[Record], list[tuple[Path, str]]]:
    """The project's own records and those of a results folder after them; and the damaged files among the latter."""
    from bench.records import read_all

    folders = sorted(plugins.ROOT.glob("results/*/records"))
    committed = [r for folder in folders if folder.parent != results.resolve() for r in read_all(folder)[0]]
    own, damaged = read_all(results / "records")
    return committed + own, damaged


def pretrain(words: list[str]) -> int:
    """Makes encoders without asking anything of them."""
    options = parser("pretrain").parse_args(words)
    planned = planned_from(options)
    if options.dry_run:
        print(forecast(planned))
        return 0
    from bench import checkpoints, processes, runner

    failed = 0
    with processes.joined(planned):
        for event in followed(runner.pretrained(planned)):
            if isinstance(event, runner.Progress) or processes.rank():
                continue
            job, weights = event
            if weights.kind == "failed":
                failed += 1
                print(f"failed: {job.method.name}: {weights.facts['error']}", file=sys.stderr)
                continue
            file = weights.file
            if options.bundle:
                file = checkpoints.bundle(file, planned.pretrain_facts.name, planned.request.encoder)
            print(f"{job.method.name}  seed {job.recipe.seed}  {weights.kind}  {file}")
    return 1 if failed else 0


def fetch(words: list[str]) -> int:
    """Downloads checkpoints ahead of the run that needs them."""
    from bench.foreign.verbs import fetch

    return fetch(words)


def export(words: list[str]) -> int:
    """Writes encoders as torchvision or timm would, each with a model card."""
    from bench.foreign.verbs import export

    return export(words)


def show(words: list[str]) -> int:
    """Draws one picture of a method's pretext task."""
    options = parser("show").parse_args(words)
    method = plugins.named(options.method, plugins.plugins("method", tuple(options.plugin)), "show")
    if not method.constants.get("trains", True):
        raise UserError(f"show: {method.name} has no pretext task, since nothing is trained; choose another method.")
    planned = planned_from(options)
    if options.dry_run:
        print(forecast(planned))
        return 0
    from bench.show import Drawn, shown

    file = options.out or options.results / "figures" / f"show-{method.name}.png"
    for event in followed(shown(planned, options.images, file)):
        if isinstance(event, Drawn):
            if event.file is None:
                print(f"failed: {method.name}: {event.origin}", file=sys.stderr)
                return 1
            print(f"{method.name}  seed {planned.request.seeds[0]}  {event.origin}\nfigure   {event.file}")
    return 0


def draw_map(words: list[str]) -> int:
    """Draws the test images as the encoders see them."""
    options = parser("map").parse_args(words)
    planned = planned_from(options)
    if options.dry_run:
        print(forecast(planned))
        return 0
    from bench.embedding import Mapped, mapped

    failed: dict[str, str] = {}
    for event in followed(mapped(planned, options.taps, options.results / "figures")):
        if isinstance(event, Mapped):
            failed = event.failed
            for path in event.files:
                print(f"figure   {path}")
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


def forecast(planned: Plan) -> str:
    """The cells of a plan, where their encoders would come from, and an estimate of time and disk."""
    from tabulate import tabulate

    from bench.planning import estimate
    from bench.runner import checked

    checked(planned, planned.jobs)
    rows, disk = [], 0.0
    for job in planned.jobs:
        guess = estimate(planned, job)
        disk += guess.disk / 1e6
        for cell in job.cells or (None,):
            state = "measured" if cell and cell.measured else guess.source
            rows.append(
                [
                    job.method.name,
                    job.recipe.seed,
                    cell.protocol.name if cell else "",
                    state,
                    f"{job.recipe.views:,}" if job.trains else "",
                    guess.minutes if state == "to pretrain" else "",
                ]
            )
    facts, request = planned.facts, planned.request
    head = (
        f"{facts.name}: {facts.train_images:,} + {facts.test_images:,} images of {facts.image_size} pixels, "
        f"{len(facts.classes)} classes; {request.encoder}, {request.preset}"
    )
    table = tabulate(rows, ["method", "seed", "protocol", "state", "views", "minutes"], disable_numparse=True)
    return f"{head}\n\n{table}\n\nAt most {disk:,.0f} MB of features and weights will be written to the cache."


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
    from bench.records import read_all

    found, damaged = read_all(options.results / "records")
    if not found:
        for path, reason in damaged:
            print(f"skipped: {path}: {reason}", file=sys.stderr)
        raise UserError(
            f"{options.results}: holds no records; "
            f"python run_bench.py --methods rotnet --results {options.results} makes some."
        )
    if options.card:
        from bench.card import card, chosen

        print(card(chosen(found, options.card)), end="")
        return 0
    reported = show_tables(found, damaged, options.results, options.methods, whole=True)
    if options.html:
        from bench.page import page
        from bench.records import write_whole

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
    from bench import verdicts
    from bench.compare import compared
    from bench.records import write_whole

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


def show_list(words: list[str]) -> int:
    """Prints what there is to choose from, or one plugin's settings."""
    made = Parser(
        prog="run_bench.py list",
        description="Methods, protocols, data sets and encoders; with a name, its settings; checkpoints, all of them.",
        allow_abbrev=False,
    )
    made.add_argument("name", nargs="?")
    made.add_argument("--plugin", action="append", default=[], metavar="FILE")
    options = made.parse_args(words)
    if options.name == "checkpoints":
        from bench.foreign.catalogue import listing

        print(listing(plugins.plugins("method", tuple(options.plugin)).values()))
        return 0
    if options.name:
        known = {kind: plugins.plugins(kind, tuple(options.plugin)) for kind in plugins.FOLDERS}
        matches = [(kind, found[options.name]) for kind, found in known.items() if options.name in found]
        if not matches:
            names = {name for found in known.values() for name in found}
            raise UserError(f"{options.name!r} is not known. {did_you_mean(options.name, names)}")
        for kind, plugin in matches:
            print(described(kind, plugin))
        return 0
    for kind in plugins.FOLDERS:
        print(f"{kind}s")
        lines = plugins.summaries(kind, tuple(options.plugin))
        width = max(map(len, lines), default=0)
        print("\n".join(f"  {name:{width}}  {line}" for name, line in lines.items()), end="\n\n")
    print("`list NAME` shows a plugin's settings; change one with --set NAME.KEY=VALUE.")
    print("`list checkpoints` shows the weights that others trained.")
    return 0


def described(kind: str, plugin: plugins.Plugin) -> str:
    """A plugin's docstring and settings."""
    import ast

    lines = [f"{plugin.name} ({kind})", "", ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""]
    if plugin.settings:
        lines += ["", "settings"]
        lines += [
            f"  --set {plugin.name}.{s.name}={plugins.shown(s.default) if s.known else '…'}  ({s.annotation})"
            for s in plugin.settings.values()
        ]
    if short := plugin.constants.get("short"):
        lines += [
            "",
            "in presets shorter than paper: " + ", ".join(f"{k}={plugins.shown(v)}" for k, v in short.items()),
        ]
    for preset, changes in (plugin.constants.get("presets") or {}).items():
        lines += ["", f"in preset {preset}: " + ", ".join(f"{k}={plugins.shown(v)}" for k, v in changes.items())]
    return "\n".join(lines)
