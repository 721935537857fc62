"""What a plan would do and cost, told without doing it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from tabulate import tabulate

from ..planning.plan import Cell, Job, Plan
from ..records.provenance import device_name
from ..records.record import Record
from ..run.encoder import kept
from ..run.preflight import checked, device_of
from .report import gathered


def forecast(planned: Plan) -> str:
    """The cells of a plan, where their encoders would come from, and an estimate of time and disk."""
    checked(planned, planned.jobs)
    facts, request = planned.facts, planned.request
    past = [record for record in gathered(request.results)[0] if record["status"] == "ok"]
    rows, numbers, every = [], 0, list[float | None]()
    for job in planned.jobs:
        numbers += sum(cell.settings.get("features", 512) * len(cell.settings["taps"]) for cell in job.missing)
        for cell in job.cells or (None,):
            steps = list(ahead(planned, job, cell, past))
            every += steps
            rows.append(
                [
                    f"{job.name} ({cell.variant})" if cell and cell.variant else job.name,
                    job.recipe.seed,
                    cell.protocol.name if cell else "",
                    "measured" if cell and cell.measured else origin(planned, job),
                    f"{job.recipe.views:,}" if job.trains else "",
                    minutes(steps),
                ]
            )
    head = (
        f"{facts.name}: {facts.train_images:,} + {facts.test_images:,} images of {facts.image_size} pixels, "
        f"{len(facts.classes)} classes; {request.encoder}, {request.preset}"
    )
    table = tabulate(rows, ["method", "seed", "protocol", "state", "views", "minutes"], disable_numparse=True)
    unknown = "?: no such run was timed yet.\n" * (None in every)
    disk = 4e-6 * numbers * (facts.train_images + facts.test_images)
    return (
        f"{head}\n\n{table}\n\n{unknown}"
        f"About {minutes(every) or 0} minutes, as such runs took before; on this device, where it ran any.\n"
        f"At most {disk:,.0f} MB of features and weights will be written to the cache."
    )


def minutes(steps: Sequence[float | None]) -> str:
    """Seconds in all, told in minutes; a question mark stands for what is not known."""
    timed = [seconds for seconds in steps if seconds is not None]
    return " + ".join([f"{sum(timed) / 60:.1f}"] * bool(timed) + ["?"] * (None in steps))


def ahead(planned: Plan, job: Job, cell: Cell | None, past: Iterable[Record]) -> Iterator[float | None]:
    """Seconds of each step that a row still asks for, by views and images; None where none like it was timed.

    Pretraining and extraction, which a job's cells share, count for the first that is missing.
    """
    here, facts = device_name(device_of(planned.request.device)), planned.facts
    alike = [record for record in past if comparable(record, planned, job)]
    first = cell is (job.missing or (None,))[0]
    if first and origin(planned, job) == "to pretrain":
        yield usual(alike, "pretrain", job.recipe.views, here, lambda r: r["cell"]["method"] == job.method.name)
    if cell and not cell.measured:
        images = facts.train_images + facts.test_images
        asked = [record for record in alike if record["cell"]["protocol"] == cell.protocol.name]
        settings = plain(cell.settings)
        if first:
            yield usual(alike, "extract", images, here, lambda r: r["settings"]["protocol"]["taps"] == settings["taps"])
        yield usual(asked, "probe", images, here, lambda r: r["settings"]["protocol"] == settings)


def comparable(record: Record, planned: Plan, job: Job) -> bool:
    """Whether a record is of the job's encoder on pictures of the plan's size."""
    own, settings = planned.with_encoder_of(job.foreign), record["settings"]
    wants = job.foreign.facts["input"] if job.foreign else {}
    asked = plain([own.request.encoder, own.encoder_settings, wants])
    same_data = record["identity"]["dataset"] == planned.facts.identity
    return [record["cell"]["encoder"], settings["encoder"], record["source"].get("input", {})] == asked and (
        same_data or settings["dataset"].get("image_size") == planned.facts.image_size
    )


def usual(past: Iterable[Record], part: str, amount: int, here: str, same: Callable[[Record], bool]) -> float | None:
    """Seconds for so many views or images: the median of the nearest runs, those on this device before all others."""
    found: dict[tuple[bool, bool], list[float]] = {}
    for record in past:
        cost, card, made = record["cost"], record["card"], record["provenance"]
        if seconds := cost.get(f"{part}_seconds"):
            trains = part == "pretrain"
            done = cost["pretrain_views"] if trains else card["train_images"] + card["test_images"]
            device = record["source"].get("device", made["device"]) if trains else made["device"]
            found.setdefault((device == here, same(record)), []).append(seconds * amount / done)
    return median(found[max(found)]) if found else None


def plain(settings: Any) -> Any:
    """Settings as a record holds them: JSON knows no tuples."""
    return json.loads(json.dumps(settings))


def origin(planned: Plan, job: Job) -> str:
    """Where a job's encoder would come from."""
    if job.foreign and job.foreign.kind != "untrained":
        at_hand = job.foreign.kind in ("file", "timm", "torchvision")  # the libraries see to their own weights
        return f"from {job.foreign.kind}" if at_hand else "here" if job.foreign.there else "to download"
    if job.checkpoint:
        return "from file"
    if not job.trains:
        return "untrained"
    known = kept(planned, job)
    return known[0] if known else "to pretrain"
