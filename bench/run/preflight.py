"""Finds mistakes before any work: settings out of range, unknown taps, unusable checkpoints, devices and folders."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..checkpoints.fetch import load_checkpoint
from ..checkpoints.store import load_encoder
from ..encoders import Encoder
from ..errors import UserError, did_you_mean, plugin_traceback, with_place
from ..evaluation.feature_spec import check_class_token
from ..method import Method
from ..planning.plan import Cell, Job, Plan
from ..protocol import Protocol
from ..storage.cache import cache_folder
from .encoder import build_encoder, find_pretrained, is_undertrained, train_info_of, views_before_gradient
from .protocol_output import checked_feature_specs

CPU = torch.device("cpu")
MEGABYTE = 1 << 20
MAX_TAPS = 12  # in an error message
MAX_REASON = 160  # characters of an error of torch, which may list every backend
SAVED_COPIES = 4  # of an encoder's size: its own file, its heads, and an interrupted run with its optimiser
log = logging.getLogger(__name__)


def check_jobs(plan: Plan, jobs: tuple[Job, ...]) -> dict[str, tuple[Protocol, ...]]:
    """Builds everything that the missing cells need, to find mistakes; returns each job's protocols by recipe hash.

    Encoders are built on the meta device, without weights. Raises UserError for a setting out of range, a tap that
    the encoder lacks, a checkpoint that does not fit, or a device that is not there.
    """
    device_of(plan.request.device)
    protocols: dict[str, tuple[Protocol, ...]] = {}
    for job in jobs:
        with plugin_errors_as_user_errors(plan, job.method.name if job.trains else plan.encoder.name):
            encoder = build_encoder(plan, job, torch.device("meta"))
            check_weights_or_method(plan, job, encoder)
        own = plan.with_encoder_of(job.external)
        protocols[job.recipe_hash] = tuple(build_protocol(own, cell, encoder) for cell in job.missing)
    return protocols


def build_protocol(plan: Plan, cell: Cell, encoder: Encoder) -> Protocol:
    """The protocol of a cell with its settings. Raises UserError if it does not fit the data or the encoder."""
    with plugin_errors_as_user_errors(plan, cell.protocol.name):
        protocol: Protocol = cell.protocol.load()(**cell.settings)
        protocol.check(plan.dataset_info)
        check_taps(plan, protocol, encoder)
        protocol.card()
    return protocol


@contextmanager
def plugin_errors_as_user_errors(plan: Plan, name: str) -> Iterator[None]:
    """Raises a UserError for any other error, with its place in the plugin's file; not with --debug."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if plan.request.debug:
            raise
        place = with_place(f"{type(error).__name__}: {error}".partition("\n")[0], plugin_traceback(error))
        raise UserError(f"{name} fails before any work: {place}. Fix the file; --debug shows all.") from error


def check_weights_or_method(plan: Plan, job: Job, encoder: Encoder) -> None:
    """Loads the job's weights if a file has them, and builds its method otherwise. Raises UserError if that fails."""
    if job.external:
        if job.external.file and job.external.file.exists():
            load_checkpoint(job.external, build_encoder(plan, job, CPU))
    elif job.checkpoint:
        load_encoder(job.checkpoint, build_encoder(plan, job, CPU))
    else:
        # Heads are built on the CPU: their initialisation may compute, which tensors without data cannot.
        method = job.method.load()(encoder, train_info_of(plan), **job.settings)
        check_view_size(plan, method)
        if job.trains:
            warn_of_small_budget(plan, job, method)


def warn_of_small_budget(plan: Plan, job: Job, method: Method) -> None:
    """Warns if the budget ends before the encoder gets its first gradient, so that nothing would be learned."""
    least = views_before_gradient(plan, method)
    if is_undertrained(plan, job, method):
        log.warning(
            "%s: learns nothing in %s views, because its encoder gets no gradient in the first %g epochs (%s views); "
            "use --set recipe.views=%d or more.",
            *(job.name, f"{job.recipe.views:,}", method.epochs_before_gradient, f"{least:,.0f}", 2 * least),
        )


def check_taps(plan: Plan, protocol: Protocol, encoder: Encoder) -> None:
    """Raises UserError if the encoder lacks a tap or a class token that the protocol reads."""
    specs = checked_feature_specs(protocol)
    for tap in (*protocol.taps, *(spec.tap for spec in specs)):
        if tap in encoder.taps:
            continue
        if plan.request.taps is None:
            name = plan.request.encoder.replace("own/", "--encoder-from ")
            raise UserError(f"{name} has no tap {tap!r}: choose some with --taps. It has {some_of(encoder.taps)}.")
        raise UserError(f"--taps: {plan.request.encoder} has no tap {tap!r}. {did_you_mean(tap, encoder.taps)}")
    for spec in specs:
        check_class_token(spec, encoder, plan.request.encoder, type(protocol).__name__.lower())


def some_of(taps: Iterable[str]) -> str:
    """The first taps for an error message, those of whole stages before those of single layers."""
    ordered = sorted(taps, key=lambda tap: tap.count("."))
    rest = len(ordered) - MAX_TAPS
    return ", ".join(ordered[:MAX_TAPS]) + (f" and {rest} more" if rest > 0 else "")


def check_view_size(plan: Plan, method: Method) -> None:
    """Raises UserError if the method's views are too small for the encoder, tried by a forward pass without data."""
    side = method.view_size
    try:
        method.encoder(torch.zeros(2, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError):
        name = type(method).__name__.lower()
        raise UserError(
            f"--encoder {plan.request.encoder}: {name}'s views of {side} pixels are too small for it; "
            "use a larger --image-size or another encoder."
        ) from None


def check_results_folder(results: Path) -> None:
    """Creates the folder of records. Raises UserError if nothing can be written into it."""
    if reason := why_not_writable(results / "records", MEGABYTE):
        raise UserError(
            f"--results {results}: cannot be written ({reason}); "
            "choose a folder that you may write to, on a disk with free space."
        )


def check_encoder_cache(plan: Plan, jobs: Iterable[Job]) -> None:
    """Raises UserError if the cache cannot take the encoders that the jobs will pretrain."""
    to_pretrain = [job for job in jobs if job.trains and not find_pretrained(plan, job)]
    if not to_pretrain:
        return
    encoders = [build_encoder(plan, job, torch.device("meta")) for job in to_pretrain]
    largest = max(sum(value.nbytes for value in encoder.state_dict().values()) for encoder in encoders)
    if reason := why_not_writable(cache_folder() / "encoders", SAVED_COPIES * largest):
        raise UserError(
            f"The cache folder {cache_folder()} cannot take pretrained encoders ({reason}); "
            "free some space there, or set SSLBENCH_CACHE to another folder."
        )


def why_not_writable(folder: Path, size: int) -> str | None:
    """Creates the folder and tries to write. The reason why ``size`` bytes do not fit, or None if they do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(min(size, MEGABYTE)))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return error.strerror or str(error)
    return None if free >= size else f"{size:,} bytes are needed and {free:,} are free"


def device_of(name: str) -> torch.device:
    """The torch device of that name; "auto" is a GPU if there is one. Raises UserError if the device is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device).fill_(1).item()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"(?<=\w)\. |\n", str(error), maxsplit=1)[0][:MAX_REASON]
        raise UserError(f"--device {name}: not available here ({reason}); use --device cpu.") from None
    return device
