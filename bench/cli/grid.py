"""The command ``run FILE``: a sweep that a TOML file describes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..api.grid import read_grid
from ..errors import UserError
from ..progress import Finished, show_progress

if TYPE_CHECKING:
    from ..planning.plan import Plan

SHOWN = {"file", "dry_run", "quiet", "verbose", "log_file"}  # what the command line itself uses


def plans_of_file(options: argparse.Namespace, given: argparse.Namespace) -> list[tuple[str, Plan]]:
    """The plans of the file that options name; ``given`` are those on the command line, which replace the file's."""
    words: dict[str, Any] = {name: value for name, value in vars(given).items() if name not in SHOWN}
    if "set" in words:
        words["settings"] = words.pop("set")
    return read_grid(options.file).with_options(words).plans(vars(options))


def merged_plan(plans: Sequence[tuple[str, Plan]]) -> Plan:
    """One plan with the cells of all, to report on them together."""
    first = plans[0][1]
    return replace(first, jobs=tuple(job for _, plan in plans for job in plan.jobs))


def measure_grid(plans: Sequence[tuple[str, Plan]], options: argparse.Namespace) -> int:
    """Measures the cells of all plans that are missing, one plan after the other, and prints the tables of all."""
    from ..api.forecast import forecast
    from ..api.results import results_of_plan
    from ..api.run import is_first_process, measure_plan
    from ..run.preflight import check_jobs
    from .report import print_results

    for title, plan in plans:  # before any work on the first one
        try:
            check_jobs(plan, plan.jobs)
        except UserError as error:
            raise UserError(f"{options.file}: {title}{': ' * bool(title)}{error}") from None
    if options.dry_run:
        print("\n\n".join(f"{title}\n{forecast(plan)}".lstrip() for title, plan in plans if plan.jobs))
        return 0
    failed = 0
    for _, plan in plans:
        for event in show_progress(measure_plan(plan)):
            failed += isinstance(event, Finished) and event.failed
    if is_first_process():
        merged = merged_plan(plans)
        print_results(results_of_plan(merged))
        print(f"records  {merged.request.results / 'records'}")
    return 1 if failed else 0
