"""START READING HERE: plan the cells, run what is missing.

``plan`` (in ``planning.py``) resolves what was asked for into jobs: one encoder each, and the cells
to measure on it. ``checked`` (in ``checks.py``) builds everything without weights, so that a bad setting
fails before any work. ``run`` then does the work, with encoders from ``weights.py``, and yields what
happens; who shows it is not its business.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints import fetch as foreign_weights
from ..data import Dataset
from ..encoders import weights_hash
from ..errors import UserError
from ..evaluation.representation import Representation
from ..planning.plan import Data, Job, Plan
from ..progress import Progress
from ..protocol import Measurement, Protocol
from ..records import record as records
from ..records.mistakes import mistakes, sheet
from ..records.provenance import peak_memory
from ..storage.hashing import fingerprint
from ..training.loop import Diverged
from .describe import described, splits
from .encoder import Weights, encoder_of, input_identity, read, untrained
from .preflight import check_writable, checked, device_of

STORED_BESIDE = ("predictions", "confidences")  # of a number: not in the record itself
NAMED = 100  # classes whose names a record holds


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A cell was written, well or failed."""

    path: Path
    record: records.Record


def run(plan: Plan) -> Generator[Progress | Measured, None, None]:
    """Measures what is missing; what fails is recorded as failed, with the reason, and the others go on."""
    yield from fetched(plan.missing)
    protocols = checked(plan, plan.missing)
    folder = plan.request.results / "records"
    data, device = Data(plan), device_of(plan.request.device)
    check_writable(folder)
    dataset = data.probing()  # before any training, so that pictures that cannot be read are told now
    read(plan, plan.missing, data)
    shared: dict[Hashable, Any] = {}
    for job in plan.missing:
        try:
            encoder, weights = yield from encoder_of(plan, job, data, device)
        except UserError:
            raise
        except Exception as error:
            for cell in job.missing:
                record = described(plan, job, cell, device) | {"status": "failed", "error": reason(error)}
                yield Measured(path=records.write(folder, record), record=record)
            continue
        own = plan.with_encoder_of(job.foreign)
        seen = Representation(
            encoder,
            dataset,
            fingerprint([plan.facts.identity, own.request.encoder, own.encoder_settings, *input_identity(job)]),
            device,
            plan.request.precision,
            build=partial(untrained, plan, job, device),
            shared=shared,
            pretext=weights.facts.get("pretext"),
        )
        feature_specs = [spec for protocol in protocols[job.recipe_hash] for spec in protocol.feature_specs()]
        for done, total in seen.extract(feature_specs):
            yield Progress(title=f"{job.name}: features", done=done, total=total)
        for cell, protocol in zip(job.missing, protocols[job.recipe_hash], strict=True):
            title, began = f"{job.name}: {cell.protocol.name}", time.perf_counter()
            yield Progress(title=title, done=0, total=1)
            record = described(plan, job, cell, device, weights) | {"card": protocol.card() | splits(dataset)}
            record["provenance"]["precision"] = "bf16" if seen.low else "fp32"
            record["identity"]["weights"] = weights_hash(encoder)
            numbers, failure = yield from answered(protocol, seen, title)
            record |= failure
            record["metrics"] = [
                {k: v for k, v in vars(number).items() if k not in STORED_BESIDE} for number in numbers
            ]
            record["cost"] |= {
                "extract_seconds": seen.extract_seconds,
                "extract_flops": seen.extract_flops,
                "probe_seconds": time.perf_counter() - began,
                **peak_memory(device),
            }
            predictions, pictures = predictions_of(numbers, dataset), None
            if predictions:
                found = mistakes(numbers, predictions["labels"])
                record |= {"mistakes": found, "classes": dataset.classes[:NAMED]}
                pictures = sheet(dataset.test.images, found) if any(found.values()) else None
            yield Measured(path=records.write(folder, record, predictions, pictures), record=record)
            yield Progress(title=title, done=1, total=1)


def pretrained(plan: Plan) -> Generator[Progress | tuple[Job, Weights], None, None]:
    """Makes sure that every job's encoder exists, and yields where each is; a diverged one is yielded as failed."""
    checked(plan, plan.jobs)
    data, device = Data(plan), device_of(plan.request.device)
    read(plan, plan.jobs, data)
    for job in plan.jobs:
        if not job.trains:
            continue
        try:
            _, weights = yield from encoder_of(plan, job, data, device)
        except UserError:
            raise
        except Exception as error:
            weights = Weights(kind="failed", facts={"error": reason(error)})
        yield job, weights


def fetched(jobs: tuple[Job, ...]) -> Generator[Progress, None, None]:
    """Downloads what the jobs' checkpoints lack; one that cannot be had fails alone, unless it is the only one."""
    wanted = [job.foreign for job in jobs if job.foreign and not job.foreign.there]
    for found in wanted:
        try:
            for done, total in foreign_weights.fetched(found):
                yield Progress(title=f"{found.token}: downloading", done=done, total=total or done)
        except foreign_weights.Absent as error:
            if len(jobs) == 1:
                raise UserError(str(error)) from None


def answered(
    protocol: Protocol, seen: Representation, title: str
) -> Generator[Progress, None, tuple[list[Measurement], dict[str, str]]]:
    """The protocol's numbers; where it fails those until then, and for the record the reason."""
    numbers: list[Measurement] = []
    try:
        for number in protocol.evaluate(seen):
            numbers.append(number)
            yield Progress(title=title, done=0, total=1, note=f"{number.metric} {number.value:.3f}")
    except Exception as error:
        return numbers, {"status": "failed", "error": reason(error)}
    return numbers, {}


def predictions_of(numbers: Sequence[Measurement], dataset: Dataset) -> dict[str, np.ndarray]:
    """Each number's predictions of the test images, the first of a tap by its name alone, and the labels if any."""
    found: dict[str, np.ndarray] = {}
    for number in numbers:
        if number.predictions is not None:
            found[f"{number.tap} {number.metric}" if number.tap in found else number.tap] = number.predictions
    return found | {"labels": dataset.test.labels.numpy()} if found else {}


def reason(error: Exception) -> str:
    """What went wrong, in one line; an error that is not one of ours is named."""
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, UserError | Diverged) else f"{type(error).__name__}: {line}"
