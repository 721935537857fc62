"""The command line: commands, progress and exit codes.

Exit code 0: done; 1: a cell failed, or a comparison found something worse; 2: a mistake of the user. After a signal
that asked the process to stop, 128 + its number: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from io import TextIOWrapper
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from ..errors import UserError, did_you_mean, with_place
from ..plugins.discovery import find_plugins, plugin_named
from ..progress import Interrupted, Progress, show_progress
from .options import build_parser, request_from

if TYPE_CHECKING:
    from ..planning.plan import Plan

COMMANDS_WITHOUT_A_PLAN = {  # each is imported only when it is used
    "list": "sslbench.bench.cli.listing:list_command",
    "new": "sslbench.bench.cli.new:new_command",
    "fetch": "sslbench.bench.cli.weights:fetch_command",
    "export": "sslbench.bench.cli.weights:export_command",
    "report": "sslbench.bench.cli.report:report_command",
    "compare": "sslbench.bench.cli.report:compare_command",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    replace_unprintable_characters()
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words and not words[0].startswith("-") else "run"
    try:
        return run_command(command, words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        with suppress(OSError):  # the terminal may be gone
            print("\nStopped. All finished measurements are saved. Run the same command to resume.", file=sys.stderr)
        return interrupted.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


def replace_unprintable_characters() -> None:
    """Lets both streams print a question mark for a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def run_command(command: str, words: list[str]) -> int:
    """Runs one command with its options and returns its exit code. Raises UserError if there is no such command."""
    commands_on_a_plan: dict[str, Callable[[Plan, argparse.Namespace], int]] = {
        "run": measure,
        "pretrain": pretrain,
        "show": show,
        "map": draw_map,
    }
    if command in COMMANDS_WITHOUT_A_PLAN:
        return int(resolve_name(COMMANDS_WITHOUT_A_PLAN[command])(words))
    if command not in commands_on_a_plan:
        known = [*commands_on_a_plan, *COMMANDS_WITHOUT_A_PLAN]
        raise UserError(f"unknown command {command!r}. {did_you_mean(command, known)}")
    options = build_parser(command).parse_args(words)
    plan = plan_from_options(options)
    if options.dry_run:
        from .dry_run import forecast

        print(forecast(plan))
        return 0
    return commands_on_a_plan[command](plan, options)


def plan_from_options(options: argparse.Namespace) -> Plan:
    """The plan of parsed options. Prints which methods are left out, and why."""
    from ..planning.build import build_plan  # needs numpy, which `--help` and `list` do without

    if "method" in options:
        method = plugin_named(options.method, find_plugins("method", tuple(options.plugin)), "show")
        if not method.constants.get("trains", True):
            raise UserError(
                f"show: {method.name} has no pretext task, since nothing is trained; choose another method."
            )
    plan = build_plan(request_from(options))
    for line in plan.left_out:
        print(f"left out: {line}", file=sys.stderr)
    return plan


def measure(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``run``: measures the cells that are missing and prints the tables."""
    from .report import print_plan_tables

    failed = 0
    if plan.missing:
        from ..run import runner
        from ..training import distributed

        with distributed.process_group(plan.batch_sizes, plan.request.device):
            if distributed.rank():  # all processes pretrain together; only the first one probes and prints
                for _ in runner.pretrain_encoders(replace(plan, jobs=plan.missing)):
                    pass
                return 0
            for event in show_progress(runner.measure_missing(plan)):
                if isinstance(event, runner.Measured) and event.record.failed:
                    failed += 1
                    reason = with_place(event.record.error or "", event.record.traceback or ())
                    print(f"failed: {event.record.cell.method}: {reason}", file=sys.stderr)
    print_plan_tables(plan)
    return 1 if failed else 0


def pretrain(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``pretrain``: pretrains encoders without measuring anything."""
    from ..checkpoints.store import bundle_encoder
    from ..run import runner
    from ..training import distributed

    failed = 0
    with distributed.process_group(plan.batch_sizes, plan.request.device):
        for event in show_progress(runner.pretrain_encoders(plan)):
            if isinstance(event, Progress) or distributed.rank():
                continue
            job, weights = event
            if weights.kind == "failed":
                failed += 1
                print(f"failed: {job.method.name}: {weights.metadata['error']}", file=sys.stderr)
                continue
            file = weights.file
            if options.bundle:
                file = bundle_encoder(file, plan.pretrain_info.name, plan.request.encoder)
            print(f"{job.method.name}  seed {job.recipe.seed}  {weights.kind}  {file}")
    return 1 if failed else 0


def show(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``show``: draws a method's pretext task."""
    from ..records.store import file_name
    from ..visualise.pretext import PretextFigure, draw_pretext

    name = file_name("show", options.method, *plan.request.unusual_words())
    file = options.out or options.results / "figures" / f"{name}.png"
    for event in show_progress(draw_pretext(plan, options.images, file)):
        if isinstance(event, PretextFigure):
            if event.file is None:
                print(f"failed: {options.method}: {event.note}", file=sys.stderr)
                return 1
            print(f"{options.method}  seed {plan.request.seeds[0]}  {event.note}\nfigure   {event.file}")
    return 0


def draw_map(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``map``: draws the test images by the similarity of their features."""
    from ..visualise.tsne import TsneFigure, draw_tsne

    failed: dict[str, str] = {}
    for event in show_progress(draw_tsne(plan, options.taps, options.results / "figures")):
        if isinstance(event, TsneFigure):
            failed = event.failed
            for path in event.files:
                print(f"figure   {path}")
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0
