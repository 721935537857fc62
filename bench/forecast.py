"""What a plan would do and cost, told without doing it."""

from __future__ import annotations

from statistics import median_high

from tabulate import tabulate

from bench.checkpoints import found, manifest
from bench.checks import checked
from bench.plan import Job, Plan
from bench.records import read_all


def forecast(planned: Plan) -> str:
    """The cells of a plan, where their encoders would come from, and an estimate of time and disk."""
    checked(planned, planned.jobs)
    facts, request, speed = planned.facts, planned.request, usual_speed(planned)
    rows, numbers = [], 0
    for job in planned.jobs:
        numbers += sum(cell.settings.get("features", 512) * len(cell.settings["taps"]) for cell in job.missing)
        for cell in job.cells or (None,):
            state = "measured" if cell and cell.measured else origin(job)
            rows.append(
                [
                    f"{job.name} ({cell.variant})" if cell and cell.variant else job.name,
                    job.recipe.seed,
                    cell.protocol.name if cell else "",
                    state,
                    f"{job.recipe.views:,}" if job.trains else "",
                    f"{job.recipe.views / speed / 60:.1f}" if speed and state == "to pretrain" else "",
                ]
            )
    head = (
        f"{facts.name}: {facts.train_images:,} + {facts.test_images:,} images of {facts.image_size} pixels, "
        f"{len(facts.classes)} classes; {request.encoder}, {request.preset}"
    )
    table = tabulate(rows, ["method", "seed", "protocol", "state", "views", "minutes"], disable_numparse=True)
    disk = 4e-6 * numbers * (facts.train_images + facts.test_images)
    return f"{head}\n\n{table}\n\nAt most {disk:,.0f} MB of features and weights will be written to the cache."


def origin(job: Job) -> str:
    """Where a job's encoder would come from."""
    if job.foreign and job.foreign.kind != "untrained":
        at_hand = job.foreign.kind in ("file", "timm", "torchvision")  # the libraries see to their own weights
        return f"from {job.foreign.kind}" if at_hand else "here" if job.foreign.there else "to download"
    if job.checkpoint:
        return "from file"
    if not job.trains:
        return "untrained"
    known = found(job.recipe_hash)
    return known[0] if known else "to pretrain"


def usual_speed(planned: Plan) -> float | None:
    """Views a second at which such encoders were pretrained before; None where none was."""
    encoder = planned.request.encoder
    costs = [facts["cost"] for facts in manifest().values() if facts["encoder"] == encoder]
    for record in read_all(planned.request.results / "records")[0]:
        if record["cell"]["encoder"] == encoder and record["cost"].get("pretrain_seconds"):
            costs.append(record["cost"])
    return median_high(cost["pretrain_views"] / cost["pretrain_seconds"] for cost in costs) if costs else None
