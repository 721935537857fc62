"""Verbs, progress and exit codes: 0 done, 1 a cell failed or got worse, 2 it could not be done, 130 interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from ..errors import UserError, did_you_mean
from ..plugins import discovery as plugins
from ..progress import Interrupted, followed
from .options import parser, request_of

if TYPE_CHECKING:
    from ..planning.plan import Plan

OTHERS = {  # verbs with options of their own, each imported when it is asked for
    "list": "sslbench.bench.cli.listing:show_list",
    "fetch": "sslbench.bench.cli.weights:fetch",
    "export": "sslbench.bench.cli.weights:export",
    "report": "sslbench.bench.cli.report:report",
    "compare": "sslbench.bench.cli.report:compare",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words.pop(0) if words and not words[0].startswith("-") else "run"
    on_a_plan = {"run": run, "pretrain": pretrain, "show": show, "map": draw_map}
    try:
        if verb in OTHERS:
            return resolve_name(OTHERS[verb])(words)
        if verb not in on_a_plan:
            raise UserError(f"{verb!r} is no verb. {did_you_mean(verb, [*on_a_plan, *OTHERS])}")
        options = parser(verb).parse_args(words)
        planned = planned_from(options)
        if options.dry_run:
            from .dry_run import forecast

            print(forecast(planned))
            return 0
        return on_a_plan[verb](planned, options)
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


def planned_from(options: argparse.Namespace) -> Plan:
    """The plan of parsed options; planning needs numpy, which ``--help`` and ``list`` need not wait for."""
    from ..planning.build import plan

    if "method" in options:
        method = plugins.named(options.method, plugins.plugins("method", tuple(options.plugin)), "show")
        if not method.constants.get("trains", True):
            raise UserError(
                f"show: {method.name} has no pretext task, since nothing is trained; choose another method."
            )
    planned = plan(request_of(options))
    for line in planned.left_out:
        print(f"left out: {line}", file=sys.stderr)
    return planned


def run(planned: Plan, options: argparse.Namespace) -> int:
    """Measures the cells that are missing and prints the table."""
    from .report import tell

    failed = 0
    if planned.missing:
        from ..run import runner
        from ..training import distributed

        with distributed.process_group(planned.batch_sizes, planned.request.device):
            if distributed.rank():  # the others help to pretrain, the first alone probes and prints
                for _ in runner.pretrained(replace(planned, jobs=planned.missing)):
                    pass
                return 0
            for event in followed(runner.run(planned)):
                if isinstance(event, runner.Measured) and event.record["status"] == "failed":
                    failed += 1
                    print(f"failed: {event.record['cell']['method']}: {event.record['error']}", file=sys.stderr)
    tell(planned)
    return 1 if failed else 0


def pretrain(planned: Plan, options: argparse.Namespace) -> int:
    """Makes encoders without asking anything of them."""
    from ..checkpoints import store as checkpoints
    from ..run import runner
    from ..training import distributed

    failed = 0
    with distributed.process_group(planned.batch_sizes, planned.request.device):
        for event in followed(runner.pretrained(planned)):
            if isinstance(event, runner.Progress) or distributed.rank():
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


def show(planned: Plan, options: argparse.Namespace) -> int:
    """Draws one picture of a method's pretext task."""
    from ..visualise.pretext import Drawn, shown

    file = options.out or options.results / "figures" / f"show-{options.method}.png"
    for event in followed(shown(planned, options.images, file)):
        if isinstance(event, Drawn):
            if event.file is None:
                print(f"failed: {options.method}: {event.origin}", file=sys.stderr)
                return 1
            print(f"{options.method}  seed {planned.request.seeds[0]}  {event.origin}\nfigure   {event.file}")
    return 0


def draw_map(planned: Plan, options: argparse.Namespace) -> int:
    """Draws the test images as the encoders see them."""
    from ..visualise.tsne import Mapped, mapped

    failed: dict[str, str] = {}
    for event in followed(mapped(planned, options.taps, options.results / "figures")):
        if isinstance(event, Mapped):
            failed = event.failed
            for path in event.files:
                print(f"figure   {path}")
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return 1 if failed else 0
