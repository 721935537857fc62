"""Gets a job's encoder: loads its weights from a file, the cache, the bundle or a download, or pretrains it now."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import store
from ..checkpoints.fetch import load_checkpoint
from ..checkpoints.registry import Checkpoint
from ..encoders import Encoder
from ..encoders._input_mode import encoder_for_input_mode
from ..errors import UserError
from ..method import Method, TrainInfo
from ..planning.plan import Job, Plan, PlannedDatasets
from ..plugins.code_identity import code_identity
from ..plugins.discovery import ROOT
from ..precision import low_precision
from ..progress import Progress
from ..records.provenance import current_provenance
from ..storage.atomic import raise_storage_errors
from ..training import distributed
from ..training.loop import Step, count_step_flops, optimiser_steps, pretrain

log = logging.getLogger(__name__)

COLLAPSED = 0.05  # embeddings with a smaller spread (1: they fill the sphere, 0: all are equal) count as collapsed


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where an encoder's weights came from, and what is known about them."""

    kind: str  # "untrained", "file", "cached", "bundled", "published", "pretrained" or "failed"
    file: Path | None = None
    metadata: dict[str, Any]


def load_or_pretrain(
    plan: Plan, job: Job, datasets: PlannedDatasets, device: torch.device
) -> Generator[Progress, None, tuple[Encoder, Weights]]:
    """The job's encoder with its weights, which are pretrained now if no file has them. Raises Diverged."""
    encoder = untrained_encoder(plan, job, device)
    if job.external:
        return encoder, load_external(job.external, encoder)
    if job.checkpoint:
        return encoder, load_given_file(job, job.checkpoint, encoder)
    if not job.trains:
        return encoder, Weights(kind="untrained", metadata={})
    if (found := find_pretrained(plan, job)) and (weights := load_pretrained(*found, encoder)):
        return encoder, weights
    weights = yield from pretrain_encoder(plan, job, encoder, datasets, device)
    return encoder, weights


def load_given_file(job: Job, file: Path, encoder: Encoder) -> Weights:
    """Fills the encoder from the file of ``--checkpoint``, and logs which part was taken if several fit."""
    metadata = store.load_encoder(file, encoder)
    if others := metadata.pop("other_parts", []):
        log.info(
            "%s: its part %r was taken; %r fits too: --checkpoint %s=%s#%s",
            file, metadata.pop("part"), others[0], job.method.name, file, others[0],
        )  # fmt: skip
    return Weights(kind="file", file=file, metadata=metadata)


def load_pretrained(kind: str, file: Path, encoder: Encoder) -> Weights | None:
    """Fills the encoder from the cache or the bundle; None if the file in the cache is damaged, which is renamed."""
    try:
        return Weights(kind=kind, file=file, metadata=store.load_encoder(file, encoder))
    except UserError as error:
        if kind != "cached":
            raise
        with raise_storage_errors(file), suppress(FileNotFoundError):  # another process may have been faster
            file.replace(file.with_name(f"{file.name}.damaged"))
        log.warning("%s: the file was renamed, and the encoder is pretrained again.", error)
        return None


def load_external(checkpoint: Checkpoint, encoder: Encoder) -> Weights:
    """Fills the encoder with a checkpoint's weights."""
    kind = {"file": "file", "untrained": "untrained"}.get(checkpoint.kind, "published")
    known = load_checkpoint(checkpoint, encoder)
    layout = {"layout": known["layout"]} if "layout" in known else {}
    return Weights(kind=kind, file=checkpoint.file, metadata={"source": layout})


def pretrain_encoder(
    plan: Plan, job: Job, encoder: Encoder, datasets: PlannedDatasets, device: torch.device
) -> Generator[Progress, None, Weights]:
    """Pretrains the encoder in place, continuing an interrupted run, and saves it in the cache. Raises Diverged."""
    method: Method = job.method.load()(encoder, train_info_of(plan), **job.settings)
    method.to(device).to(memory_format=torch.channels_last)
    split = datasets.pretraining_dataset(method.needs).train
    partial = store.partial_run_path(job.recipe_hash)
    made = current_provenance(device)
    metadata: dict[str, Any] = {
        "method": job.method.name,
        "settings": job.settings,
        "encoder": plan.request.encoder,
        "recipe": asdict(job.recipe),
        "recipe_hash": job.recipe_hash,
        "dataset": plan.pretrain_info.name,
        "identity": plan.pretrain_info.identity,
        "precision": "bf16" if low_precision(device, job.recipe.precision) else "fp32",
        "commit": made.commit,
        "device": made.device,
        "threads": made.threads,
    }
    flops = count_step_flops(method, split, job.recipe, device) * optimiser_steps(method, job.recipe)
    steps: list[Step] = []
    with closing(pretrain(method, split, job.recipe, device, partial)) as training:
        for step in training:
            steps.append(step)
            recent = [one.loss for one in steps[-50:]]
            note = f"loss {sum(recent) / len(recent):.3f}" + "".join(f", {k} {v:.3f}" for k, v in step.logged.items())
            yield Progress(title=f"{plan.title_of(job)}: pretraining", done=step.step, total=step.steps, note=note)
    metadata["pretext"] = pretext_summary([step.loss for step in steps], [step.logged for step in steps])
    if is_undertrained(plan, job, method):
        metadata["pretext"]["undertrained"] = True
    metadata["cost"] = {
        "pretrain_seconds": sum(step.seconds for step in steps),
        "pretrain_views": job.recipe.views,
        "pretrain_flops": flops,
    }
    file = store.cached_encoder_path(job.recipe_hash)
    if not distributed.rank():
        # The encoder is written last, so that its file is only found once its heads are there too.
        store.save_heads(store.cached_heads_path(job.recipe_hash), method, metadata)
        store.save_encoder(file, encoder, metadata)
        partial.unlink(missing_ok=True)
    return Weights(kind="pretrained", file=file, metadata=metadata)


def views_before_gradient(plan: Plan, method: Method) -> float:
    """How many views a method processes before its encoder gets the first gradient."""
    return method.epochs_before_gradient * plan.pretrain_info.train_images * method.views_per_image


def is_undertrained(plan: Plan, job: Job, method: Method) -> bool:
    """Whether the budget ends before the encoder gets its first gradient, so that nothing is learned."""
    return 0 < job.recipe.views <= views_before_gradient(plan, method)


def find_pretrained(plan: Plan, job: Job) -> tuple[str, Path] | None:
    """Kind of source and file of an encoder that was pretrained before; None if it must be pretrained (again)."""
    return None if plan.request.overwrite else store.find_pretrained(job.recipe_hash)


def check_pretraining_data(plan: Plan, jobs: Iterable[Job], datasets: PlannedDatasets) -> None:
    """Reads the data that the jobs will be pretrained on, so that unusable data are a UserError before any work."""
    for job in jobs:
        if job.trains and not find_pretrained(plan, job):
            images = len(datasets.pretraining_dataset(job.needs).train)
            if images < job.recipe.batch_size:
                raise UserError(f"{plan.pretrain_info.name}: {images} readable train images are fewer than a batch.")


def pretext_summary(losses: list[float], logged: list[dict[str, float]]) -> dict[str, Any]:
    """What a record says about the pretext task, from the losses and logged values of all steps.

    The first loss; the means of loss and logged values over the last twentieth of the steps; and whether the
    embeddings collapsed, if their spread was logged.
    """
    tail = max(1, len(losses) // 20)
    last = [of_step | {"last_loss": loss} for loss, of_step in zip(losses[-tail:], logged[-tail:], strict=True)]
    summary: dict[str, Any] = {"first_loss": losses[0]}
    for name in last[-1]:
        values = [of_step[name] for of_step in last if name in of_step]  # steps before an interruption are not logged
        summary[name] = sum(values) / len(values)
    return summary | ({"collapsed": summary["spread"] < COLLAPSED} if "spread" in summary else {})


def untrained_encoder(plan: Plan, job: Job, device: torch.device) -> Encoder:
    """The job's encoder at its random initialisation. Seeds torch's random numbers, and leaves them seeded."""
    torch.manual_seed(job.recipe.seed)
    return build_encoder(plan, job, device)


def build_encoder(plan: Plan, job: Job, device: torch.device) -> Encoder:
    """The job's encoder with the input mode of its method or the preprocessing of its checkpoint, weights random."""
    plan = plan.with_encoder_of(job.external)
    input_spec = job.external.input_spec if job.external else None
    # Weights are drawn on the CPU, so that a seed means the same weights on every device.
    with torch.device("meta" if device.type == "meta" else "cpu"):
        size = input_spec.size if input_spec else plan.dataset_info.image_size
        encoder = encoder_for_input_mode(plan.encoder.load(), input_mode_of(job), size, plan.encoder_settings)
    encoder.input_size = size
    if input_spec:  # pictures from files are cropped already
        encoder.with_input_spec(replace(input_spec, crop=1.0) if job.decodes_files else input_spec)
    return encoder.to(device).to(memory_format=torch.channels_last)


def input_mode_of(job: Job) -> str:
    """Which part of an image the job's encoder sees; see ``Method.input_mode``."""
    return str(job.method.constants.get("input_mode", "colour"))


def input_identity(job: Job) -> list[Any]:
    """What changes features apart from weights and data: input mode, the checkpoint's preprocessing, edited code.

    Part of the feature cache's key.
    """
    input_spec = job.external.input_spec if job.external else None
    code = job.encoder_code | code_identity([ROOT / "bench/evaluation/representation.py"])
    return [input_mode_of(job), *([asdict(input_spec)] if input_spec else []), *([code] if code else [])]


def train_info_of(plan: Plan) -> TrainInfo:
    """What a method may know about the data that it is pretrained on."""
    info = plan.pretrain_info
    return TrainInfo(num_images=info.train_images, num_classes=len(info.classes), image_size=info.image_size)
