"""Where a job's encoder comes from: its file, the cache, the bundle, a download, or pretraining now."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import fetch as foreign_weights, store as checkpoints
from ..encoders import Encoder
from ..encoders._halves import with_input_mode
from ..errors import UserError
from ..method import Method, TrainInfo
from ..planning.plan import Data, Job, Plan
from ..precision import low_precision
from ..progress import Progress
from ..records.provenance import provenance
from ..training import distributed
from ..training.loop import flops_of_step, pretrain, steps_of

COLLAPSED = 0.05  # of what fills the sphere: embeddings that are spread over less are all alike


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where an encoder's weights came from, and what is known of their making."""

    kind: str  # "untrained", "file", "cached", "bundled" or "pretrained"
    file: Path | None = None
    facts: dict[str, Any]


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
    if found := kept(plan, job):
        kind, file = found
        return encoder, Weights(kind=kind, file=file, facts=checkpoints.load(file, encoder))

    method: Method = job.method.load()(encoder, train_facts(plan), **job.settings)
    method.to(device).to(memory_format=torch.channels_last)
    split = data.pretraining(method.needs).train
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
    logged: list[dict[str, float]] = []
    with closing(pretrain(method, split, job.recipe, device, partial)) as training:
        for step in training:
            seconds += step.seconds
            losses.append(step.loss)
            logged.append(step.logged)
            recent = losses[-50:]
            note = f"loss {sum(recent) / len(recent):.3f}" + "".join(f", {k} {v:.3f}" for k, v in step.logged.items())
            yield Progress(title=f"{job.method.name}: pretraining", done=step.step, total=step.steps, note=note)
    facts["pretext"] = pretext(losses, logged)
    facts["cost"] = {"pretrain_seconds": seconds, "pretrain_views": job.recipe.views, "pretrain_flops": flops}
    file = checkpoints.cached(job.recipe_hash)
    if distributed.rank():
        return encoder, Weights(kind="pretrained", file=file, facts=facts)
    # The encoder goes last: whoever finds it finds its heads too.
    checkpoints.save_heads(checkpoints.cached_heads(job.recipe_hash), method, facts)
    checkpoints.save(file, encoder, facts)
    partial.unlink(missing_ok=True)
    return encoder, Weights(kind="pretrained", file=file, facts=facts)


def kept(plan: Plan, job: Job) -> tuple[str, Path] | None:
    """Kind of source and file of an encoder that need not be pretrained again; None where it must be."""
    return None if plan.request.overwrite else checkpoints.found(job.recipe_hash)


def read(plan: Plan, jobs: Iterable[Job], data: Data) -> None:
    """Reads what the jobs will be pretrained on, so that UserError tells before any work what cannot be used."""
    for job in jobs:
        if job.trains and not kept(plan, job):
            images = len(data.pretraining(job.needs).train)
            if images < job.recipe.batch_size:
                raise UserError(f"{plan.pretrain_facts.name}: {images} readable train images are fewer than a batch.")


def pretext(losses: list[float], logged: list[dict[str, float]]) -> dict[str, Any]:
    """A run's first loss; over its last twentieth the mean loss and what was logged; and whether it collapsed."""
    tail = max(1, len(losses) // 20)
    last = [of_step | {"last_loss": loss} for loss, of_step in zip(losses[-tail:], logged[-tail:], strict=True)]
    found: dict[str, Any] = {"first_loss": losses[0]}
    for name in last[-1]:
        values = [of_step[name] for of_step in last if name in of_step]  # steps before an interruption are not logged
        found[name] = sum(values) / len(values)
    return found | ({"collapsed": found["spread"] < COLLAPSED} if "spread" in found else {})


def untrained(plan: Plan, job: Job, device: torch.device) -> Encoder:
    """The job's encoder at its random initialisation; leaves the randomness where building it did."""
    torch.manual_seed(job.recipe.seed)
    return built_encoder(plan, job, device)


def built_encoder(plan: Plan, job: Job, device: torch.device) -> Encoder:
    """The plan's encoder at its random initialisation, seeing what the job's method input_spec it to."""
    plan = plan.with_encoder_of(job.foreign)
    input_spec = job.foreign.input_spec if job.foreign else None
    # Weights are drawn on the CPU, so that a seed means the same weights on every device.
    with torch.device("meta" if device.type == "meta" else "cpu"):
        size = input_spec.size if input_spec else plan.facts.image_size
        encoder = with_input_mode(plan.encoder.load(), input_mode_of(job), size, plan.encoder_settings)
    if input_spec:
        encoder.with_input_spec(input_spec)
    return encoder.to(device).to(memory_format=torch.channels_last)


def input_mode_of(job: Job) -> str:
    """What of a picture the job's encoder sees."""
    return str(job.method.constants.get("input_mode", "colour"))


def input_identity(job: Job) -> list[Any]:
    """Everything about the input that changes features: the input mode, and the checkpoint's preprocessing.

    Part of the feature cache's key.
    """
    input_spec = job.foreign.input_spec if job.foreign else None
    return [input_mode_of(job), asdict(input_spec) if input_spec else None] if input_spec else [input_mode_of(job)]


def train_facts(plan: Plan) -> TrainInfo:
    """What a method may know of the data it is pretrained on."""
    facts = plan.pretrain_facts
    return TrainInfo(images=facts.train_images, classes=len(facts.classes), image_size=facts.image_size)
