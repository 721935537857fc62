"""START READING HERE: measures the cells of a plan that have no record yet.

``build_plan`` (``planning/build.py``) turns a request into jobs: one encoder each, and the cells to measure on it.
``check_jobs`` (``preflight.py``) builds everything without weights, so that a mistake is found before any work.
``measure_missing`` does the work with the encoders that ``encoder.py`` loads or pretrains. It yields progress and
results; the caller shows them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ..checkpoints.fetch import fetch_checkpoint
from ..checkpoints.registry import CheckpointUnavailable
from ..data import Dataset
from ..encoders import Encoder, weights_hash
from ..errors import StorageError, UserError, plugin_traceback, with_place
from ..evaluation.representation import Representation
from ..planning.plan import Job, Plan, PlannedDatasets
from ..progress import Progress, format_duration
from ..protocol import Protocol
from ..records import store as records
from ..records.measurement import Measurement
from ..records.mistakes import contact_sheet, find_mistakes
from ..records.predictions import collect_predictions
from ..records.provenance import peak_memory
from ..records.record import Examples, Record
from ..storage.atomic import remove_stale_files
from ..storage.cache import remove_stale_cache_files
from ..storage.hashing import fingerprint
from ..training.loop import Diverged
from .describe import record_header, split_sizes
from .encoder import (
    Weights,
    check_pretraining_data,
    input_identity,
    load_or_pretrain,
    untrained_encoder,
)
from .examples import collect_examples
from .measured import Measured, value_with_unit
from .preflight import check_encoder_cache, check_jobs, check_results_folder, device_of
from .protocol_output import checked_feature_specs, checked_measurements
from .workload import measuring_workload, pretraining_workload

MAX_CLASS_NAMES = 100  # that a record holds
log = logging.getLogger(__name__)


def measure_missing(plan: Plan) -> Generator[Progress | Measured, None, None]:
    """Measures every cell without a record. One that fails is recorded as failed, with the reason.

    Raises UserError for mistakes that can be found before any work, and where a record cannot be written.
    """
    yield from download_checkpoints(plan.missing)
    protocols = check_jobs(plan, plan.missing)
    datasets = prepare_work(plan, plan.missing)
    check_results_folder(plan.request.results)
    remove_stale_files(plan.request.results / "records")
    yield Progress(title=f"{plan.dataset_info.name}: reading", done=0, total=0, workload=measuring_workload(plan))
    read_probing_dataset(plan, datasets)  # before any training, so that unreadable images are reported first
    check_pretraining_data(plan, plan.missing, datasets)
    shared_results: dict[Hashable, Any] = {}
    for job in plan.missing:
        began = time.perf_counter()
        pretrain_seconds = 0.0
        try:
            representation, weights = yield from prepare_representation(
                plan, job, datasets, protocols[job.recipe_hash], shared_results
            )
        except Exception as error:
            if plan.request.debug:
                raise
            for cell in job.missing:
                header = record_header(plan, job, cell, device_of(plan.request.device))
                yield replace(write_failure(plan, header, error), title=plan.title_of(job))
            continue
        if weights.kind == "pretrained":
            pretrain_seconds = time.perf_counter() - began - representation.extract_seconds
        for cell, protocol in zip(job.missing, protocols[job.recipe_hash], strict=True):
            title = f"{plan.title_of(job)}: {cell.protocol.name}"
            yield Progress(title=title, done=0, total=1)
            header = record_header(plan, job, cell, representation.device, weights)
            measured = yield from measure_cell(plan, header, protocol, representation, title)
            yield Progress(title=title, done=1, total=1)
            now = time.perf_counter()
            yield replace(
                measured,
                title=plan.title_of(job),
                headline=protocol.headline,
                seconds=now - began,
                pretrain_seconds=pretrain_seconds,
            )
            began, pretrain_seconds = now, 0.0  # the first cell counts what the cells of an encoder share


def read_probing_dataset(plan: Plan, datasets: PlannedDatasets) -> None:
    """Reads the data set that protocols use, and logs how long it took."""
    began = time.perf_counter()
    dataset = datasets.probing_dataset(plan.protocol_needs)
    log.debug(
        "%s: %s train and %s test images read in %s",
        plan.dataset_info.name,
        f"{len(dataset.train):,}",
        f"{len(dataset.test):,}",
        format_duration(time.perf_counter() - began),
    )


def prepare_work(plan: Plan, jobs: tuple[Job, ...]) -> PlannedDatasets:
    """The plan's data sets, once it is sure that the cache can take what the jobs will pretrain."""
    check_encoder_cache(plan, jobs)
    remove_stale_cache_files()
    return PlannedDatasets(plan)


def prepare_representation(
    plan: Plan,
    job: Job,
    datasets: PlannedDatasets,
    protocols: Iterable[Protocol],
    shared_results: dict[Hashable, Any],
) -> Generator[Progress, None, tuple[Representation, Weights]]:
    """The job's encoder with the features that its protocols read, and where its weights came from."""
    device = device_of(plan.request.device)
    encoder, weights = yield from load_or_pretrain(plan, job, datasets, device)
    dataset = datasets.dataset_of(job)
    representation = build_representation(plan, job, encoder, dataset, device, weights, shared_results)
    feature_specs = [spec for protocol in protocols for spec in checked_feature_specs(protocol)]
    title = f"{plan.title_of(job)}: features"
    yield Progress(title=title, done=0, total=len(dataset.train) + len(dataset.test))
    for done, total in representation.extract(feature_specs):
        yield Progress(title=title, done=done, total=total)
    log.debug("%s: encoder %s%s", plan.title_of(job), weights.kind, f", {weights.file}" if weights.file else "")
    seconds = representation.extract_seconds
    log.debug("%s %s", title, f"extracted in {format_duration(seconds)}" if seconds else "read from the cache")
    return representation, weights


def build_representation(
    plan: Plan,
    job: Job,
    encoder: Encoder,
    dataset: Dataset,
    device: torch.device,
    weights: Weights,
    shared_results: dict[Hashable, Any],
) -> Representation:
    """The job's encoder on the data set, for all of its protocols; ``shared_results`` is one dict for the whole run."""
    own = plan.with_encoder_of(job.external)
    identity = [plan.dataset_info.identity, own.request.encoder, own.encoder_settings, *input_identity(job)]
    return Representation(
        encoder,
        dataset,
        fingerprint(identity),
        device,
        plan.request.precision,
        build_encoder=partial(untrained_encoder, plan, job, device),
        shared_results=shared_results,
        pretext=weights.metadata.get("pretext"),
        recompute=plan.request.overwrite,
    )


def measure_cell(
    plan: Plan, header: Record, protocol: Protocol, representation: Representation, title: str
) -> Generator[Progress, None, Measured]:
    """Runs one protocol, and completes the cell's record with its numbers, cost and mistakes."""
    began = time.perf_counter()
    header = replace(
        header,
        card=protocol.card() | split_sizes(representation.dataset),
        identity=replace(header.identity, weights=weights_hash(representation.encoder)),
        provenance=replace(header.provenance, precision="bf16" if representation.computes_in_bf16 else "fp32"),
    )
    measurements, failure = yield from evaluate_protocol(protocol, representation, title)
    header = with_cost(header, representation, began)
    log.debug("%s took %s", title, format_duration(time.perf_counter() - began))
    if failure is None:
        try:
            examples = collect_examples(protocol, representation, title)
            return write_measurements(plan, header, measurements, representation.dataset, examples)
        except StorageError:  # of the record itself
            raise
        except Exception as error:
            failure = error
    if plan.request.debug:
        raise failure
    return write_failure(plan, header, failure, measurements)


def evaluate_protocol(
    protocol: Protocol, representation: Representation, title: str
) -> Generator[Progress, None, tuple[list[Measurement], Exception | None]]:
    """The protocol's measurements. If it fails: those made before, and the error."""
    measurements: list[Measurement] = []
    try:
        for measurement in checked_measurements(protocol, representation):
            measurements.append(measurement)
            details = ", ".join(f"{name} {value}" for name, value in (measurement.details or {}).items())
            result = f"{measurement.metric} at {measurement.tap} {value_with_unit(measurement)}"
            log.debug("%s: %s%s", title, result, f" ({details})" * bool(details))
            yield Progress(title=title, done=0, total=1, note=f"{measurement.metric} {measurement.value:.3f}")
    except Exception as error:
        return measurements, error
    return measurements, None


def with_cost(header: Record, representation: Representation, began: float) -> Record:
    """The record with the encoder's size, and what features and protocol cost since ``began``."""
    cost = replace(
        header.cost,
        encoder_parameters=sum(value.numel() for value in representation.encoder.parameters()),
        extract_seconds=representation.extract_seconds,
        extract_flops=representation.extract_flops,
        probe_seconds=time.perf_counter() - began,
        **peak_memory(representation.device),
    )
    return replace(header, cost=cost)


def write_measurements(
    plan: Plan,
    record: Record,
    measurements: list[Measurement],
    dataset: Dataset,
    examples: tuple[Examples, bytes] | None,
) -> Measured:
    """Writes a complete record with the predictions and pictures of mistakes and examples, if there are any."""
    folder = plan.request.results / "records"
    described, drawn = examples or (None, None)
    record = replace(record, measurements=without_predictions(measurements), examples=described)
    predictions = collect_predictions(measurements, dataset.test.labels.numpy())
    if predictions is None:
        return Measured(path=records.write(folder, record, examples=drawn), record=record)
    found = find_mistakes(measurements, predictions.labels)
    record = replace(record, mistakes=found, classes=tuple(dataset.classes[:MAX_CLASS_NAMES]))
    pictures = contact_sheet(dataset.test.images, found) if any(found.values()) else None
    return Measured(path=records.write(folder, record, predictions, pictures, drawn), record=record)


def write_failure(plan: Plan, header: Record, error: Exception, measurements: Iterable[Measurement] = ()) -> Measured:
    """Writes the record of a cell that failed, with the measurements made before. An older success stays."""
    folder = plan.request.results / "records"
    failed = replace(header, status="failed", error=failure_reason(error), traceback=plugin_traceback(error) or None)
    if isinstance(error, UserError | OSError) and (older := records.find(folder, header.key)):
        return Measured(path=older, record=failed)  # a full disk does not undo what was measured
    try:
        record = replace(failed, measurements=without_predictions(measurements))
        return Measured(path=records.write(folder, record), record=record)
    except ValueError:  # the measurements cannot be stored, which may be why the cell failed
        failed = replace(failed, card={})
        return Measured(path=records.write(folder, failed), record=failed)


def without_predictions(measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """The measurements as a record holds them: predictions and arrays are stored next to it."""
    return tuple(replace(one, predictions=None, confidences=None, arrays={}) for one in measurements)


def pretrain_encoders(plan: Plan) -> Generator[Progress | tuple[Job, Weights], None, None]:
    """Makes sure that every job's encoder exists; yields each with its weights, of kind "failed" if it diverged."""
    check_jobs(plan, plan.jobs)
    datasets, device = prepare_work(plan, plan.jobs), device_of(plan.request.device)
    yield Progress(title=f"{plan.pretrain_info.name}: reading", done=0, total=0, workload=pretraining_workload(plan))
    check_pretraining_data(plan, plan.jobs, datasets)
    for job in plan.jobs:
        if not job.trains:
            continue
        try:
            _, weights = yield from load_or_pretrain(plan, job, datasets, device)
        except Exception as error:
            if plan.request.debug:
                raise
            reason = with_place(failure_reason(error), plugin_traceback(error))
            weights = Weights(kind="failed", metadata={"error": reason})
        yield job, weights


def download_checkpoints(jobs: tuple[Job, ...]) -> Generator[Progress, None, None]:
    """Downloads the checkpoints that are not here yet. One that is not available fails later, on its own.

    Raises UserError at once if it is the only job.
    """
    wanted = [job.external for job in jobs if job.external and not job.external.is_local]
    for checkpoint in wanted:
        try:
            for done, total in fetch_checkpoint(checkpoint):
                yield Progress(title=f"{checkpoint.token}: downloading", done=done, total=total or done)
        except CheckpointUnavailable as error:
            if len(jobs) == 1:
                raise UserError(str(error)) from None


def failure_reason(error: Exception) -> str:
    """An error in one line, with the name of its class unless it is one of this project's own."""
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, UserError | Diverged) else f"{type(error).__name__}: {line}"
