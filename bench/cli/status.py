"""The command ``status``: what is measured, failed, being pretrained or missing, and what was interrupted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from ..errors import UserError
from ..progress import format_duration
from .options import build_parser, parse_given_options, request_from

if TYPE_CHECKING:
    from ..planning.plan import Job, Plan
    from ..records.record import Record

STATES = ("measured", "failed", "running", "missing")
SAVED_WITHIN = 300.0  # seconds: a run saves its state every 120, or after a step that takes longer
Counts = dict[tuple[str, str], Counter[str]]  # method and protocol -> cells by state


def status_command(words: list[str]) -> int:
    """Prints the cells of a folder, or of the options of ``run``, by state; returns 0 if all are measured, else 1."""
    options = build_parser("status").parse_args(words)
    found = read_by_key(options.results)
    plans: list[Plan] = []
    if options.file:
        from .grid import plans_of_file

        plans = [plan for _, plan in plans_of_file(options, parse_given_options("status", words))]
        found = read_by_key(plans[0].request.results)
    elif options.methods:
        from ..planning.build import build_plan

        plans = [build_plan(request_from(options))]
    counts = count_planned(plans, found) if plans else count_records(found.values())
    if not counts:
        raise UserError(f"{options.results}: contains no records; name what to look for, as in `run`.")
    print(counts_table(counts))
    for line in pretraining_lines(plans):
        print(line)
    total = sum(counts.values(), Counter[str]())
    print(f"{total.total()} cells: {in_words(total)}")
    return 0 if total["measured"] == total.total() else 1


def read_by_key(results: Path) -> dict[str, Record]:
    """The records of a folder by key."""
    from ..records.store import read_all

    return {record.key: record for record in read_all(results / "records")[0]}


def count_records(found: Iterable[Record]) -> Counts:
    """The records of each method and protocol by state; what is missing is not known."""
    counts: Counts = {}
    for record in found:
        of_pair = counts.setdefault((record.cell.method, record.cell.protocol), Counter())
        of_pair["failed" if record.failed else "measured"] += 1
    return counts


def count_planned(plans: Sequence[Plan], found: dict[str, Record]) -> Counts:
    """The cells of each method and protocol by state."""
    counts: Counts = {}
    for plan in plans:
        for job in plan.jobs:
            running = is_recent(partial_file(job.recipe_hash))
            for cell in job.cells:
                record = found.get(cell.key)
                state = state_of(record, is_running=running)
                counts.setdefault((job.name, cell.protocol.name), Counter())[state] += 1
    return counts


def state_of(record: Record | None, *, is_running: bool) -> str:
    """One of `STATES`; a record that was written before a new pretraining began still counts."""
    if record is not None and not record.failed:
        return "measured"
    return "running" if is_running else "missing" if record is None else "failed"


def partial_file(recipe_hash: str) -> Path:
    """The file of an interrupted or running pretraining; it may not exist."""
    from ..storage.cache import cache_folder

    return cache_folder() / "encoders" / f"{recipe_hash}.partial"


def is_recent(file: Path) -> bool:
    """Whether a running process must have written the file."""
    try:
        return time.time() - file.stat().st_mtime < SAVED_WITHIN
    except OSError:
        return False


def counts_table(counts: Counts) -> str:
    """A row per method, a column per protocol, such as "3 measured, 1 missing"."""
    protocols = list(dict.fromkeys(protocol for _, protocol in counts))
    rows = []
    for method in dict.fromkeys(method for method, _ in counts):
        cells = [counts.get((method, protocol), Counter()) for protocol in protocols]
        rows.append([method, *(in_words(of) or "-" for of in cells)])
    return tabulate(rows, ["method", *protocols], disable_numparse=True)


def in_words(of: Counter[str]) -> str:
    """Numbers of cells by state, such as "3 measured, 1 missing"."""
    return ", ".join(f"{of[state]} {state}" for state in STATES if of[state])


def pretraining_lines(plans: Sequence[Plan]) -> Iterator[str]:
    """A line for each partial pretraining in the cache, those of the plans only if there are plans."""
    from ..storage.cache import cache_folder

    planned = {job.recipe_hash: (plan, job) for plan in plans for job in plan.jobs if job.trains}
    for file in sorted((cache_folder() / "encoders").glob("*.partial")):
        key = file.name.removesuffix(".partial")
        if key in planned:
            plan, job = planned[key]
            name = f"{plan.title_of(job)} ({plan.request.encoder}, {job.recipe.preset})"
            yield f"pretraining  {name}: {progress_words(file, count_steps(plan, job))}"
        elif not plans:
            yield f"pretraining  {key}: {progress_words(file)}"


def count_steps(plan: Plan, job: Job) -> int:
    """The optimiser steps of a job's pretraining."""
    import torch

    from ..run.encoder import build_encoder, train_info_of
    from ..training.loop import optimiser_steps

    method = job.method.load()(build_encoder(plan, job, torch.device("meta")), train_info_of(plan), **job.settings)
    return optimiser_steps(method, job.recipe)


def progress_words(file: Path, steps: int | None = None) -> str:
    """How far a partial pretraining is, how long it took, and whether it runs."""
    import torch

    try:
        saved = file.stat().st_mtime
        history = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["history"]
        done, seconds = len(history), sum(float(took) for _, took in history)
    except Exception as error:  # torch and zipfile raise many kinds over a damaged file
        return f"cannot be read ({str(error).partition(chr(10))[0]})"
    ago = format_duration(time.time() - saved)
    state = "running or just stopped, saved" if is_recent(file) else "interrupted, saved"
    share = f"{done:,} of {steps:,} steps ({done / steps:.0%})" if steps else f"{done:,} steps"
    return f"{share} in {format_duration(seconds)}, {state} {ago} ago"
