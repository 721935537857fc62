"""The command line: commands, progress and exit codes.

Exit code 0: done; 1: a cell failed, a comparison found something worse, or `status` a cell that is not measured; 2: a
mistake of the user. After a signal that asked the process to stop, 128 + its number: 130 for Ctrl-C, 143 for SIGTERM,
129 for SIGHUP.
"""

# PYTHON_ARGCOMPLETE_OK: completion in the shell looks for this in the first 1,024 characters.
from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from ..errors import UserError, did_you_mean
from ..progress import Finished, Interrupted, Progress, fit_to_terminal, log_output, show_progress
from .options import (
    DESCRIPTIONS,
    NO_METHODS,
    build_parser,
    is_asked_by_shell,
    output_settings,
    parse_given_options,
    request_from,
)

if TYPE_CHECKING:
    from ..planning.plan import Plan

log = logging.getLogger(__name__)

COMMANDS_WITHOUT_A_PLAN = {  # each is imported only when it is used
    "list": "sslbench.bench.cli.listing:list_command",
    "new": "sslbench.bench.cli.new:new_command",
    "fetch": "sslbench.bench.cli.weights:fetch_command",
    "export": "sslbench.bench.cli.weights:export_command",
    "report": "sslbench.bench.cli.report:report_command",
    "compare": "sslbench.bench.cli.report:compare_command",
    "choose": "sslbench.bench.cli.choose:choose_command",
    "status": "sslbench.bench.cli.status:status_command",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    replace_unprintable_characters()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if is_asked_by_shell():
        from .completion import words_of_line

        words = words_of_line({*COMMANDS_WITHOUT_A_PLAN, *DESCRIPTIONS})
    command = words.pop(0) if words and not words[0].startswith("-") else "run"
    try:
        return run_command(command, words)
    except UserError as error:
        print(fit_to_terminal(f"error: {error}"), file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        with suppress(OSError):  # the terminal may be gone
            print("\nStopped. All finished measurements are saved. Run the same command to resume.", file=sys.stderr)
        return interrupted.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        if error.filename is None or "--debug" in words:
            raise
        unusable = UserError(f"{error.filename}: cannot be used ({error.strerror}); choose another path.")
        print(f"error: {unusable}", file=sys.stderr)
        return 2


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
    if command == "run" and options.file:
        from .grid import measure_grid, plans_of_file

        with log_output(**output_settings(options)):
            return measure_grid(plans_of_file(options, parse_given_options(command, words)), options)
    if command == "run" and options.methods is None:
        raise UserError(NO_METHODS)
    with log_output(**output_settings(options)):
        plan = plan_from_options(options)
        if options.dry_run:
            from ..api.forecast import forecast

            print(forecast(plan))
            return 0
        return commands_on_a_plan[command](plan, options)


def plan_from_options(options: argparse.Namespace) -> Plan:
    """The plan of parsed options. Logs which methods are left out, and why."""
    from ..api.run import plan_request
    from ..api.show import plan_to_show

    return (plan_to_show if "method" in options else plan_request)(request_from(options))


def measure(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``run``: measures the cells that are missing and prints the tables."""
    from ..api import run
    from ..api.results import results_of_plan
    from .report import print_results

    failed = 0
    for event in show_progress(run.measure_plan(plan)):
        failed += isinstance(event, Finished) and event.failed
    if run.is_first_process():
        print_results(results_of_plan(plan))
        print(f"records  {plan.request.results / 'records'}")
    return 1 if failed else 0


def pretrain(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``pretrain``: pretrains encoders without measuring anything."""
    from ..api.run import pretrain_plan
    from ..checkpoints.store import bundle_encoder

    failed = 0
    for event in show_progress(pretrain_plan(plan)):
        if isinstance(event, Progress):
            continue
        job, weights = event
        if weights.kind == "failed":
            failed += 1
            log.error("failed: %s: %s", job.method.name, weights.metadata["error"])
            continue
        file = weights.file
        if options.bundle:
            file = bundle_encoder(file, plan.pretrain_info.name, plan.request.encoder)
        print(f"{job.method.name}  seed {job.recipe.seed}  {weights.kind}  {file}")
    return 1 if failed else 0


def show(plan: Plan, options: argparse.Namespace) -> int:
    """The command ``show``: draws a method's pretext task."""
    from ..api.run import finish
    from ..api.show import draw_pretext_task

    figure = finish(draw_pretext_task(plan, options.images, options.out))
    if figure.file is None:
        log.error("failed: %s: %s", options.method, figure.note)
        return 1
    print(f"{options.method}  seed {plan.request.seeds[0]}  {figure.note}\nfigure   {figure.file}")
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
        log.error("failed: %s: %s", name, reason)
    return 1 if failed else 0
