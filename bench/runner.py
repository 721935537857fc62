"""START READING HERE: plan the cells, run what is missing.

``plan`` (in ``planning.py``) resolves what was asked for into jobs: one encoder each, and the cells
to measure on it. ``checked`` builds everything without weights, so that a bad setting fails before
any work. ``run`` then does the work and yields what happens; who shows it is not its business.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Hashable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import checkpoints, processes, records
from bench.data import Dataset, Facts, Source
from bench.encoders import Encoder
from bench.encoders._halves import seeing
from bench.errors import UserError, did_you_mean
from bench.foreign import weights as foreign_weights
from bench.method import Method, TrainFacts
from bench.mistakes import mistakes, sheet
from bench.plan import Cell, Job, Plan
from bench.precision import low_precision
from bench.progress import Progress
from bench.protocol import Number, Protocol
from bench.provenance import peak_memory, provenance
from bench.recipe import file_hash, fingerprint
from bench.representation import Representation
from bench.training import Diverged, flops_of_step, pretrain, steps_of

STORED_BESIDE = ("predictions", "confidences")  # of a number: not in the record itself
NAMED = 100  # classes whose names a record holds
COLLAPSED = 0.05  # of what fills the sphere: embeddings that are spread over less are all alike


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A cell was written, well or failed."""

    path: Path
    record: records.Record


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where an encoder's weights came from, and what is known of their making."""

    kind: str  # "untrained", "file", "cached", "bundled" or "pretrained"
    file: Path | None = None
    facts: dict[str, Any]


def run(plan: Plan) -> Generator[Progress | Measured, None, None]:
    """Measures what is missing; what fails is recorded as failed, with the reason, and the others go on."""
    yield from fetched(plan.missing)
    protocols = checked(plan, plan.missing)
    folder = plan.request.results / "records"
    data, device = Data(plan), device_of(plan.request.device)
    check_writable(folder)
    dataset = data.probing()  # before any training, so that pictures that cannot be read are told now
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
        around = plan.around(job.foreign)
        identity = fingerprint([plan.facts.identity, around.request.encoder, around.encoder_settings, *sight(job)])
        seen = Representation(
            encoder,
            dataset,
            identity,
            device,
            plan.request.precision,
            build=partial(untrained, plan, job, device),
            shared=shared,
            pretext=weights.facts.get("pretext"),
        )
        readings = [reading for protocol in protocols[job.recipe_hash] for reading in protocol.readings()]
        for done, total in seen.extract(readings):
            yield Progress(title=f"{job.method.name}: features", done=done, total=total)
        for cell, protocol in zip(job.missing, protocols[job.recipe_hash], strict=True):
            yield Progress(title=f"{job.method.name}: {cell.protocol.name}", done=0, total=1)
            began = time.perf_counter()
            record = described(plan, job, cell, device, weights) | {"card": protocol.card() | splits(dataset)}
            record["provenance"]["precision"] = "bf16" if seen.low else "fp32"
            record["identity"]["weights"] = checkpoints.weights_hash(encoder)
            numbers: list[Number] = []
            try:
                for number in protocol.evaluate(seen):
                    numbers.append(number)
                    note = f"{number.metric} {number.value:.3f}"
                    yield Progress(title=f"{job.method.name}: {cell.protocol.name}", done=0, total=1, note=note)
            except Exception as error:
                record |= {"status": "failed", "error": reason(error)}
            record["metrics"] = [
                {k: v for k, v in vars(number).items() if k not in STORED_BESIDE} for number in numbers
            ]
            record["cost"] |= {
                "extract_seconds": seen.extract_seconds,
                "extract_flops": seen.extract_flops,
                "probe_seconds": time.perf_counter() - began,
                **peak_memory(device),
            }
            predictions: dict[str, np.ndarray] = {}
            for number in numbers:
                if number.predictions is not None:  # the first of a tap go by its name alone
                    name = f"{number.tap} {number.metric}" if number.tap in predictions else number.tap
                    predictions[name] = number.predictions
            pictures = None
            if predictions:
                predictions["labels"] = truth = dataset.test.labels.numpy()
                found = mistakes(numbers, truth)
                record |= {"mistakes": found, "classes": dataset.classes[:NAMED]}
                pictures = sheet(dataset.test.images, found) if any(found.values()) else None
            yield Measured(path=records.write(folder, record, predictions, pictures), record=record)
            yield Progress(title=f"{job.method.name}: {cell.protocol.name}", done=1, total=1)


def pretrained(plan: Plan) -> Generator[Progress | tuple[Job, Weights], None, None]:
    """Makes sure that every job's encoder exists, and yields where each is; a diverged one is yielded as failed."""
    checked(plan, plan.jobs)
    data, device = Data(plan), device_of(plan.request.device)
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
        elif job.checkpoint:
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


def reason(error: Exception) -> str:
    """What went wrong, in one line; an error that is not one of ours is named."""
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, UserError | Diverged) else f"{type(error).__name__}: {line}"


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


def encoder_of(
    plan: Plan, job: Job, data: Data, device: torch.device
) -> Generator[Progress, None, tuple[Encoder, Weights]]:
    """A job's encoder: from its file, the cache or the bundle, or pretrained now. Raises Diverged."""
    encoder = untrained(plan, job, device)
    if job.foreign:
        kind = {"file": "file", "untrained": "untrained"}.get(job.foreign.kind, "published")
        known = foreign_weights.fill(job.foreign, encoder)
        layout = {"layout": known["layout"]} if "layout" in known else {}
        return encoder, Weights(kind=kind, file=job.foreign.file, facts={"source": layout})
    if job.checkpoint:
        return encoder, Weights(kind="file", file=job.checkpoint, facts=checkpoints.load(job.checkpoint, encoder))
    if not job.trains:
        return encoder, Weights(kind="untrained", facts={})
    if not plan.request.overwrite and (found := checkpoints.found(job.recipe_hash)):
        kind, file = found
        return encoder, Weights(kind=kind, file=file, facts=checkpoints.load(file, encoder))

    method: Method = job.method.load()(encoder, train_facts(plan), **job.settings)
    method.to(device).to(memory_format=torch.channels_last)
    split = data.pretraining(method.needs).train
    if len(split) < job.recipe.batch_size:
        raise UserError(f"{plan.pretrain_facts.name}: {len(split)} readable train images are fewer than a batch.")
    partial = checkpoints.interrupted(job.recipe_hash)
    facts: dict[str, Any] = {
        "method": job.method.name,
        "settings": job.settings,
        "encoder": plan.request.encoder,
        "recipe": asdict(job.recipe),
        "recipe_hash": job.recipe_hash,
        "dataset": plan.pretrain_facts.name,
        "identity": plan.pretrain_facts.identity,
        "precision": "bf16" if low_precision(device, job.recipe.precision) else "fp32",
        **{name: value for name, value in provenance(device).items() if name in ("commit", "device")},
    }
    flops = flops_of_step(method, split, job.recipe, device) * steps_of(method, job.recipe)
    seconds, losses = 0.0, []
    watched: list[dict[str, float]] = []
    with closing(pretrain(method, split, job.recipe, device, partial)) as training:
        for step in training:
            seconds += step.seconds
            losses.append(step.loss)
            watched.append(step.watched)
            recent = losses[-50:]
            note = f"loss {sum(recent) / len(recent):.3f}" + "".join(f", {k} {v:.3f}" for k, v in step.watched.items())
            yield Progress(title=f"{job.method.name}: pretraining", done=step.step, total=step.steps, note=note)
    facts["pretext"] = pretext(losses, watched)
    facts["cost"] = {"pretrain_seconds": seconds, "pretrain_views": job.recipe.views, "pretrain_flops": flops}
    file = checkpoints.cached(job.recipe_hash)
    if processes.rank():
        return encoder, Weights(kind="pretrained", file=file, facts=facts)
    # The encoder goes last: whoever finds it finds its heads too.
    checkpoints.save_heads(checkpoints.cached_heads(job.recipe_hash), method, facts)
    checkpoints.save(file, encoder, facts)
    partial.unlink(missing_ok=True)
    return encoder, Weights(kind="pretrained", file=file, facts=facts)


def untrained(plan: Plan, job: Job, device: torch.device) -> Encoder:
    """The job's encoder at its random initialisation; leaves the randomness where building it did."""
    torch.manual_seed(job.recipe.seed)
    return built_encoder(plan, job, device)


def pretext(losses: list[float], watched: list[dict[str, float]]) -> dict[str, Any]:
    """A run's first loss; over its last twentieth the mean loss and what was watched; and whether it collapsed."""
    tail = max(1, len(losses) // 20)
    last = [of_step | {"last_loss": loss} for loss, of_step in zip(losses[-tail:], watched[-tail:], strict=True)]
    found: dict[str, Any] = {"first_loss": losses[0]}
    for name in last[-1]:
        values = [of_step[name] for of_step in last if name in of_step]  # steps before an interruption are not watched
        found[name] = sum(values) / len(values)
    return found | ({"collapsed": found["spread"] < COLLAPSED} if "spread" in found else {})


def built_encoder(plan: Plan, job: Job, device: torch.device) -> Encoder:
    """The plan's encoder at its random initialisation, seeing what the job's method wants it to."""
    plan = plan.around(job.foreign)
    wants = job.foreign.wants if job.foreign else None
    # Weights are drawn on the CPU, so that a seed means the same weights on every device.
    with torch.device("meta" if device.type == "meta" else "cpu"):
        size = wants.size if wants else plan.facts.image_size
        encoder = seeing(plan.encoder.load(), sees(job), size, plan.encoder_settings)
    if wants:
        encoder.wanting(wants)
    return encoder.to(device).to(memory_format=torch.channels_last)


def sees(job: Job) -> str:
    """What of a picture the job's encoder sees."""
    return str(job.method.constants.get("sees", "colour"))


def sight(job: Job) -> list[Any]:
    """That, and what a checkpoint's encoder wants pictures to look like: with data and weights, all of its features."""
    wants = job.foreign.wants if job.foreign else None
    return [sees(job), asdict(wants) if wants else None] if wants else [sees(job)]


def train_facts(plan: Plan) -> TrainFacts:
    """What a method may know of the data it is pretrained on."""
    facts = plan.pretrain_facts
    return TrainFacts(images=facts.train_images, classes=len(facts.classes), image_size=facts.image_size)


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


def splits(dataset: Dataset) -> dict[str, Any]:
    """The part of a protocol card that the data decide."""
    return {"train_images": len(dataset.train), "test_images": len(dataset.test), "classes": len(dataset.classes)}


def described(plan: Plan, job: Job, cell: Cell, device: torch.device, weights: Weights | None = None) -> records.Record:
    """A record's every part that is known before the protocol is asked."""
    facts = weights.facts if weights else {}
    file = weights.file if weights else None
    brought = job.foreign.facts if job.foreign else {}
    plan = plan.around(job.foreign)
    return {
        "schema": records.SCHEMA,
        "key": cell.key,
        "status": "ok",
        "error": None,
        "cell": {
            "method": job.method.name,
            "checkpoint": job.foreign.name if job.foreign else job.checkpoint.name if job.checkpoint else None,
            "encoder": plan.request.encoder,
            "dataset": plan.facts.name,
            "pretrain_dataset": plan.pretrain_facts.name,
            "protocol": cell.protocol.name,
            "variant": cell.variant,
            "seed": job.recipe.seed,
            "preset": job.recipe.preset,
        },
        "settings": {
            "method": job.settings,
            "encoder": plan.encoder_settings,
            "recipe": asdict(job.recipe),
            "common": job.common,
            "dataset": settings_of(plan.request.dataset, plan.source),
            "pretrain_dataset": settings_of(
                plan.request.pretrain_dataset or plan.request.dataset, plan.pretrain_source
            ),
            "protocol": cell.settings,
        },
        "identity": {
            "dataset": plan.facts.identity,
            "pretrain_dataset": plan.pretrain_facts.identity,
            "recipe": job.recipe_hash,
        },
        "deviations": job.deviations,
        "card": {},
        "metrics": [],
        "source": {
            "kind": weights.kind if weights else "failed",
            "file": file.name if file else None,
            "sha256": file_hash(file) if file else None,
            # The weights may be older than the measurement, and made elsewhere.
            **{name: facts[name] for name in ("commit", "precision", "device") if name in facts},
            **brought,
            **facts.get("source", {}),
        },
        "cost": facts.get("cost", {"pretrain_seconds": 0.0, "pretrain_views": 0, "pretrain_flops": 0}).copy(),
        "pretext": facts.get("pretext", {}),
        "provenance": provenance(device),
    }


def settings_of(name: str, source: Source) -> dict[str, Any]:
    """A data set's plugin and settings; where the data lie is none of them, since the identity says what they are."""
    return {"source": name} | {key: value for key, value in asdict(source).items() if key != "data_dir"}


class Data:
    """The data sets of a plan, each read when it is first asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loaded: dict[tuple[str, frozenset[str]], Dataset] = {}

    def probing(self, needs: frozenset[str] = frozenset()) -> Dataset:
        """What the protocols see."""
        return self._load(self.plan.source, self.plan.facts, needs - {"labels"})

    def pretraining(self, needs: frozenset[str]) -> Dataset:
        """What the method sees."""
        return self._load(self.plan.pretrain_source, self.plan.pretrain_facts, needs - {"labels"})

    def _load(self, source: Source, facts: Facts, needs: frozenset[str]) -> Dataset:
        key = (facts.identity, needs)
        if key not in self.loaded:
            self.loaded[key] = source.load(needs)
        return self.loaded[key]
