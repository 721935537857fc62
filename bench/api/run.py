"""Measures what is missing: the function ``sslbench.run``, and what it shares with the command line."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..progress import Finished, Interrupted, Progress, format_duration, log_output, show_progress
from .request import PathLike, make_request, path_of
from .results import Results, results_of_plan

if TYPE_CHECKING:
    from ..planning.plan import Job, Plan, Request
    from ..run.encoder import Weights
    from ..run.measured import Measured

T = TypeVar("T")
log = logging.getLogger(__name__)


def run(
    methods: str | Iterable[str],
    *,
    protocol: str | Iterable[str] = "linear",
    taps: str | Iterable[str] | None = None,
    variant: str | Iterable[str] = (),
    encoder: str | None = None,
    encoder_from: str | None = None,
    seeds: int | str | Iterable[int] = 0,
    settings: Mapping[str, Any] | str | Iterable[str] = (),
    dataset: str = "synthetic",
    data_dir: PathLike | None = None,
    pretrain_dataset: str | None = None,
    pretrain_data_dir: PathLike | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    limit: int | None = None,
    preset: str = "small",
    device: str = "auto",
    precision: str = "auto",
    plugin: PathLike | Iterable[PathLike] = (),
    checkpoint: Mapping[str, PathLike] | str | Iterable[str] = (),
    results: PathLike = "results/local",
    references: bool = True,
    overwrite: bool = False,
    debug: bool = False,
    dry_run: bool = False,
    progress: bool = True,
    verbose: bool = False,
    log_file: PathLike | None = None,
) -> Results:
    """Measures methods with protocols, as the command line does with the options of the same names.

    Only cells without a record in ``results`` are measured; records, tables and figures are saved there. Lists may be
    lists or texts ("rotnet,moco"), ``settings`` a dictionary ({"rotnet.angles": (0, 180)}) or texts as for ``--set``.
    With ``references`` floor and ceiling are measured too, where that needs no training. A cell that fails is in
    `Results.failed`; with ``debug`` its error is raised. With ``dry_run`` the cells and an estimate of time are
    printed, and nothing is measured. ``progress=False`` shows nothing while it runs.

    Raises UserError for a mistake, before any work, and KeyboardInterrupt after Ctrl-C; what was measured is saved.
    """
    words = locals()
    with shown_output(progress, verbose, log_file):
        plan = plan_request(make_request(words | {"protocol": protocol or ()}))
        if dry_run:
            from .forecast import forecast

            print(forecast(plan))
            return results_of_plan(plan)
        watch(measure_plan(plan))
    found = results_of_plan(plan)
    if is_first_process():
        found.save()
    return found


def plan_request(request: Request) -> Plan:
    """The plan of a request. Logs which methods are left out, and why. Raises UserError for any mistake."""
    from ..planning.build import build_plan  # needs numpy, which `--help` and `list` do without

    plan = build_plan(request)
    for line in plan.left_out:
        log.warning("left out: %s", line)
    return plan


def shown_output(
    progress: bool, verbose: bool = False, log_file: PathLike | None = None
) -> AbstractContextManager[None]:
    """A context within which progress and messages are shown, or only written to the file, or neither."""
    file = None if log_file is None else path_of(log_file)
    return log_output(quiet=not progress, verbose=verbose, file=file) if progress or file else nullcontext()


def watch(events: Generator[Any, None, T], *, progress: bool = False) -> T:
    """Runs a generator to its end, and returns what it returns; ``progress`` shows it, as within `shown_output`.

    Raises KeyboardInterrupt after Ctrl-C, and SystemExit after another signal to end, once the state is saved.
    """
    try:
        with shown_output(progress):
            return finish(events)
    except Interrupted as stopped:
        if stopped.exit_code == 130:
            raise KeyboardInterrupt("All finished measurements are saved. Call it again to resume.") from None
        raise SystemExit(stopped.exit_code) from None


def finish(events: Generator[Any, None, T]) -> T:
    """Runs a generator to its end as `show_progress` does, and returns what it returns. Raises Interrupted."""
    returned: list[T] = []

    def keep_value() -> Generator[Any, None, None]:
        returned.append((yield from events))

    for _ in show_progress(keep_value()):
        pass
    return returned[0]


def measure_plan(plan: Plan) -> Generator[Progress | Measured, None, None]:
    """Measures the cells that have no record. Processes of torchrun pretrain together, and the first one probes."""
    from ..run import runner
    from ..training import distributed

    cells = sum(len(job.cells) for job in plan.jobs)
    if not plan.missing:
        log.info("all %d cells are measured already; --overwrite measures again", cells)
        return
    began = time.monotonic()
    with distributed.process_group(plan.batch_sizes, plan.request.device):
        if distributed.rank():
            for _ in runner.pretrain_encoders(replace(plan, jobs=plan.missing)):
                pass
        else:
            failed = 0
            for event in runner.measure_missing(plan):
                failed += isinstance(event, Finished) and event.failed
                yield event
            log.info("%s", summary_of(plan, failed, time.monotonic() - began))


def summary_of(plan: Plan, failed: int, seconds: float) -> str:
    """The end of a run in one line: how many cells were measured, how many reused, how many failed."""
    cells, missing = (sum(len(getattr(job, which)) for job in plan.jobs) for which in ("cells", "missing"))
    parts = [f"{missing - failed} measured"]
    if cells > missing:
        parts.append(f"{cells - missing} reused from {plan.request.results}")
    if failed:
        parts.append(f"{failed} failed")
    return f"{cells} cell{'s' * (cells != 1)}: {', '.join(parts)}, {format_duration(seconds)}"


def pretrain_plan(plan: Plan) -> Generator[Progress | tuple[Job, Weights], None, None]:
    """Pretrains the encoders that are missing; the first process yields each job with its weights, or a failure."""
    from ..run import runner
    from ..training import distributed

    with distributed.process_group(plan.batch_sizes, plan.request.device):
        for event in runner.pretrain_encoders(plan):
            if isinstance(event, Progress) or not distributed.rank():
                yield event


def is_first_process() -> bool:
    """Whether this process has results to show: it is the only one, or the first of those that torchrun started."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK") == "0"
