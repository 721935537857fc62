"""What can be known to fail before any work: settings, taps, checkpoints, devices and folders."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from ..checkpoints import fetch as foreign_weights, store as checkpoints
from ..errors import UserError, did_you_mean
from ..method import Method
from ..planning.plan import Job, Plan
from ..protocol import Protocol
from .encoder import built_encoder, train_facts


def checked(plan: Plan, jobs: tuple[Job, ...]) -> dict[str, tuple[Protocol, ...]]:
    """Builds every missing cell's parts, the encoder on no device at all; returns each job's protocols by recipe hash.

    Raises UserError for a setting out of range, a tap that the encoder lacks, a checkpoint that
    does not fit or a device that is not there.
    """
    device_of(plan.request.device)
    built: dict[str, tuple[Protocol, ...]] = {}
    for job in jobs:
        encoder = built_encoder(plan, job, torch.device("meta"))
        if job.foreign:
            if job.foreign.file and job.foreign.file.exists():
                foreign_weights.fill(job.foreign, built_encoder(plan, job, torch.device("cpu")))
        elif job.checkpoint is None:
            # Heads are real: building them may compute, which nothing on no device can.
            check_view(plan, job.method.load()(encoder, train_facts(plan), **job.settings))
        else:
            checkpoints.load(job.checkpoint, built_encoder(plan, job, torch.device("cpu")))
        built[job.recipe_hash] = tuple(cell.protocol.load()(**cell.settings) for cell in job.missing)
        for protocol in built[job.recipe_hash]:
            protocol.check(plan.facts)
            for tap in protocol.taps:
                if tap not in encoder.taps:
                    raise UserError(
                        f"--taps: {plan.request.encoder} has no tap {tap!r}. {did_you_mean(tap, encoder.taps)}"
                    )
    return built


def check_view(plan: Plan, method: Method) -> None:
    """Raises UserError where a method's views are too small for the encoder; a forward pass without data tells."""
    side = method.view_size
    try:
        method.encoder(torch.zeros(2, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError):
        name = type(method).__name__.lower()
        raise UserError(
            f"--encoder {plan.request.encoder}: cannot see {name}'s views of {side} pixels; "
            "give a larger --image-size or another encoder."
        ) from None


def check_writable(folder: Path) -> None:
    """Raises UserError where records could not be stored."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        raise UserError(
            f"--results {folder.parent}: cannot be written ({error.strerror}); choose a folder of yours with space."
        ) from None


def device_of(name: str) -> torch.device:
    """The torch device of that name; "auto" is a GPU where there is one. Raises UserError where it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {name}: not to be had here ({str(error).splitlines()[0]}); use --device cpu."
        ) from None
    return device
