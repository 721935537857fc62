"""What a plan would do, and an estimate of what it would cost, without doing it: the option ``--dry-run``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from tabulate import tabulate

from ..planning.plan import Cell, Job, Plan
from ..records.comparable import network
from ..records.provenance import device_name
from ..records.record import Record
from ..run.encoder import find_pretrained
from ..run.preflight import check_jobs, device_of
from .results import read_all_records

FEATURE_BYTES = 4  # per number; features are cached as float32 or smaller


def forecast(plan: Plan) -> str:
    """The cells of a plan, the source of each encoder, and an estimate of time and disk."""
    check_jobs(plan, plan.jobs)
    info, request = plan.dataset_info, plan.request
    past = [record for record in read_all_records(request.results)[0] if not record.failed]
    rows, estimates = [], list[float | None]()
    for job in plan.jobs:
        for cell in job.cells or (None,):
            steps = list(estimate_steps(plan, job, cell, past))
            estimates += steps
            rows.append(forecast_row(plan, job, cell, steps))
    head = (
        f"{info.name}: {info.train_images:,} + {info.test_images:,} images of {info.image_size} pixels, "
        f"{len(info.classes)} classes; {request.encoder}, {request.preset}"
    )
    table = tabulate(rows, ["method", "seed", "protocol", "state", "views", "minutes"], disable_numparse=True)
    unknown = "?: no run like this was timed yet.\n" * (None in estimates)
    megabytes = 1e-6 * FEATURE_BYTES * features_per_image(plan) * (info.train_images + info.test_images)
    return (
        f"{head}\n\n{table}\n\n{unknown}"
        f"About {format_minutes(estimates) or 0} minutes, from the times of earlier runs, on this device if possible.\n"
        f"At most {megabytes:,.0f} MB of features and weights will be written to the cache."
    )


def forecast_row(plan: Plan, job: Job, cell: Cell | None, steps: Sequence[float | None]) -> list[Any]:
    """A line of the table: a cell, or an encoder that is only pretrained."""
    return [
        f"{job.name} ({cell.variant})" if cell and cell.variant else job.name,
        job.recipe.seed,
        cell.protocol.name if cell else "",
        "measured" if cell and cell.measured else encoder_origin(plan, job),
        f"{job.recipe.views:,}" if job.trains else "",
        format_minutes(steps),
    ]


def features_per_image(plan: Plan) -> int:
    """An upper bound of the numbers that the missing cells read per image."""
    cells = [cell for job in plan.jobs for cell in job.missing]
    return sum(cell.settings.get("features", 512) * len(cell.settings["taps"]) for cell in cells)


def format_minutes(steps: Sequence[float | None]) -> str:
    """The sum of seconds, in minutes; a question mark stands for unknown steps."""
    timed = [seconds for seconds in steps if seconds is not None]
    return " + ".join([f"{sum(timed) / 60:.1f}"] * bool(timed) + ["?"] * (None in steps))


def estimate_steps(plan: Plan, job: Job, cell: Cell | None, past: Iterable[Record]) -> Iterator[float | None]:
    """Seconds of each step that a row still needs; None if no step like it was timed.

    Pretraining and feature extraction, which a job's cells share, count for the first missing cell.
    """
    here, info = device_name(device_of(plan.request.device)), plan.dataset_info
    similar = [record for record in past if has_same_encoder(record, plan, job)]
    first = cell is (job.missing or (None,))[0]
    if first and encoder_origin(plan, job) == "to pretrain":
        yield estimate_seconds(
            similar, "pretrain", job.recipe.views, here, lambda record: record.cell.method == job.method.name
        )
    if cell and not cell.measured:
        images = info.train_images + info.test_images
        same_protocol = [record for record in similar if record.cell.protocol == cell.protocol.name]
        settings = as_json(cell.settings)
        if first:
            taps = settings["taps"]
            yield estimate_seconds(
                similar, "extract", images, here, lambda record: record.settings.protocol.get("taps") == taps
            )
        yield estimate_seconds(
            same_protocol, "probe", images, here, lambda record: record.settings.protocol == settings
        )


def has_same_encoder(record: Record, plan: Plan, job: Job) -> bool:
    """Whether a record's encoder and image size are those of the job."""
    own = plan.with_encoder_of(job.external)
    wanted = {
        "encoder": own.request.encoder,
        "encoder settings": own.encoder_settings,
        "input": job.external.record_source["input"] if job.external else {},
    }
    same_data = record.identity.dataset == plan.dataset_info.identity
    same_size = same_data or record.settings.dataset.get("image_size") == plan.dataset_info.image_size
    return same_size and network(record) == as_json(wanted)


def estimate_seconds(
    past: Iterable[Record], part: str, amount: int, here: str, same: Callable[[Record], bool]
) -> float | None:
    """Seconds for this many views or images: the median rate of the most similar earlier runs.

    Runs on this device are more similar than all others; among them, those for which ``same`` holds.
    """
    found: dict[tuple[bool, bool], list[float]] = {}
    for record in past:
        seconds, device = getattr(record.cost, f"{part}_seconds"), record.provenance.device
        done = record.card_count("train_images") + record.card_count("test_images")
        if part == "pretrain":
            done, device = record.cost.pretrain_views or 0, record.source.device or device
        if seconds and done:
            found.setdefault((device == here, same(record)), []).append(seconds * amount / done)
    return median(found[max(found)]) if found else None


def as_json(settings: Any) -> Any:
    """Settings as a record has them: JSON has lists but no tuples."""
    return json.loads(json.dumps(settings))


def encoder_origin(plan: Plan, job: Job) -> str:
    """Where a job's encoder would come from."""
    if job.external and job.external.kind != "untrained":
        if job.external.kind in ("file", "timm", "torchvision"):  # the libraries download their own weights
            return f"from {job.external.kind}"
        return "here" if job.external.is_local else "to download"
    if job.checkpoint:
        return "from file"
    if not job.trains:
        return "untrained"
    known = find_pretrained(plan, job)
    return known[0] if known else "to pretrain"
