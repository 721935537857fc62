"""A picture of a pretext task on test images: the inputs, the task and the answers of the trained method.

The cache stores a method's heads next to its encoder. If only the encoder exists, as in the bundle, new heads are
trained first while the encoder stays frozen.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints import store as checkpoints
from ..data import Split
from ..encoders import weights_hash
from ..errors import UserError, plugin_traceback, with_place
from ..method import Method, Panel
from ..planning.plan import Job, Plan, PlannedDatasets
from ..progress import Progress
from ..run.encoder import check_pretraining_data, load_or_pretrain, train_info_of
from ..run.preflight import check_jobs, device_of
from ..run.runner import failure_reason
from ..training.loop import make_batch, pretrain
from .grid import save_grid

HEAD_VIEWS = 40_000  # the budget for training heads on a frozen encoder, which need less than a pretraining
BATCH = 64  # images per batch, more than are drawn: contrastive methods compare an image with the others


@dataclass(frozen=True, kw_only=True)
class PretextFigure:
    """The picture that was written, or the reason why there is none."""

    file: Path | None
    note: str  # where encoder and heads came from; without a file what failed


def draw_pretext(plan: Plan, images: int, file: Path) -> Generator[Progress | PretextFigure, None, None]:
    """Draw the pretext task of the plan's only method on ``images`` test images."""
    (job,) = plan.jobs
    name, needs = job.method.name, job.needs
    check_drawable(plan, job)
    check_output_file(file)
    data, device = PlannedDatasets(plan), device_of(plan.request.device)
    test = data.probing_dataset(needs).test  # before training, so that an unreadable image is reported first
    check_pretraining_data(plan, [job], data)
    try:
        method, origin = yield from load_method(plan, job, data, device)
        yield Progress(title=f"{name}: drawing", done=0, total=1)
        # There can be fewer clips than images; an index beyond the last clip would repeat an earlier one.
        labels = test.labels if test.clips is None else test.labels[: len(test.clips)]
        indices = balanced_indices(labels, max(images, BATCH), job.recipe.seed)
        panels = pretext_panels(method, test, indices, job.recipe.seed, device)
    except UserError:
        raise
    except Exception as error:
        if plan.request.debug:
            raise
        yield PretextFigure(file=None, note=with_place(failure_reason(error), plugin_traceback(error)))
        return
    shown_labels = test.labels[indices[:images]].tolist() if "labels" in needs else ()
    pretrained_on = f" pretrained on {plan.pretrain_info.name}," if plan.pretrain_info != plan.dataset_info else ""
    save_grid(
        [replace(panel, images=panel.images[:images], captions=panel.captions[:images]) for panel in panels],
        job.method.summary,
        file,
        row_labels=[f"{label}: {plan.dataset_info.classes[label]}" for label in shown_labels],
        footer=f"test images of {plan.dataset_info.name};{pretrained_on} {plan.request.encoder}, {job.recipe.preset}, "
        f"seed {job.recipe.seed}; {origin}",
    )
    yield PretextFigure(file=file, note=origin)


def check_drawable(plan: Plan, job: Job) -> None:
    """Raise UserError if the method draws no panels, or if the test images lack what it needs."""
    name, data = job.method.name, plan.dataset_info.name
    if job.method.load().panels is Method.panels:  # type: ignore[attr-defined]
        raise UserError(f"show: {name} cannot draw its pretext task; add a method panels(batch) to its class.")
    if lacking := job.needs - plan.source.provides:
        raise UserError(
            f"show: {name} needs {', '.join(sorted(lacking))}, which {data} does not provide; choose another --dataset."
        )
    if "labels" in job.needs and plan.dataset_info.classes != plan.pretrain_info.classes:
        raise UserError(
            f"show: {name} learns the classes of {plan.pretrain_info.name}, which {data} does not have; "
            "choose the same data set for --dataset and --pretrain-dataset."
        )
    check_jobs(plan, plan.jobs)


def check_output_file(file: Path) -> None:
    """Raise UserError if the picture could not be written to the file."""
    if file.suffix.lower() != ".png":
        raise UserError(f"--out {file}: the picture is a PNG file; use a name that ends in .png.")
    if file.is_dir():
        raise UserError(f"--out {file}: is a folder; give a file name.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(
            f"--out {file}: cannot be written ({error.strerror}); choose a folder that you can write to."
        ) from None


def load_method(
    plan: Plan, job: Job, data: PlannedDatasets, device: torch.device
) -> Generator[Progress, None, tuple[Method, str]]:
    """The job's trained method in eval mode, and where its encoder and heads came from.

    Raises Diverged if pretraining or training the heads fails.
    """
    encoder, weights = yield from load_or_pretrain(plan, job, data, device)
    torch.manual_seed(job.recipe.seed)
    # Only now, when the encoder has its weights: a momentum encoder starts as a copy of them.
    method: Method = job.method.load()(encoder, train_info_of(plan), **job.settings)
    method.to(device).to(memory_format=torch.channels_last)
    file = checkpoints.cached_heads_path(job.recipe_hash)
    metadata, when = checkpoints.load_heads(file, method), "earlier"
    if metadata is None:
        when = "now"
        steps = yield from train_heads(method, data.pretraining_dataset(method.needs).train, job, device)
        metadata = {"method": job.method.name, "settings": job.settings, "recipe": asdict(job.recipe)}
        metadata |= {"recipe_hash": job.recipe_hash, "taught_steps": steps}
        checkpoints.save_heads(file, method, metadata)
    source = {"pretrained": "pretrained now", "cached": "from the cache"}.get(weights.kind, weights.kind)
    if "taught_steps" not in metadata:
        return method.eval(), f"encoder and heads {source}"
    steps = metadata["taught_steps"]
    heads = f"heads trained {when} on the frozen encoder in {steps} steps" if steps else "no heads to train"
    return method.eval(), f"encoder {source}, {heads}"


def train_heads(method: Method, split: Split, job: Job, device: torch.device) -> Generator[Progress, None, int]:
    """Train a method's heads; the encoder's weights and batch statistics do not change. Returns the number of steps."""
    method.encoder.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in method.parameters()):
        return 0

    def keep_in_eval_mode(module: nn.Module, _: object) -> None:
        module.training = False  # the training loop puts the whole method into training mode

    hooks = [module.register_forward_pre_hook(keep_in_eval_mode) for module in method.encoder.modules()]
    recipe = replace(
        job.recipe, views=min(HEAD_VIEWS, job.recipe.views), batch_size=min(job.recipe.batch_size, len(split))
    )
    stem = f"{job.recipe_hash}-{weights_hash(method.encoder)}"
    partial = checkpoints.partial_run_path(f"{stem}.heads")
    done = 0
    with closing(pretrain(method, split, recipe, device, partial)) as training:
        for step in training:
            done, note = step.step, f"loss {step.loss:.3f}"
            yield Progress(title=f"{job.method.name}: training heads", done=step.step, total=step.steps, note=note)
    partial.unlink(missing_ok=True)
    for hook in hooks:
        hook.remove()
    return done


def balanced_indices(labels: Tensor, size: int, seed: int) -> Tensor:
    """Indices of at most ``size`` images in random order: one per class first, then a second one per class, and so on.

    Labels (N,) -> (size,), or (N,) if there are fewer images.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    counts: Counter[int] = Counter()
    rounds = []
    for label in labels[order].tolist():
        rounds.append(counts[label])
        counts[label] += 1
    return order[torch.tensor(rounds).argsort(stable=True)][:size]


@torch.no_grad()
def pretext_panels(method: Method, split: Split, indices: Tensor, seed: int, device: torch.device) -> list[Panel]:
    """The method's panels for the images at these indices of a split. The same seed gives the same panels."""
    batch = make_batch(method, split, indices, device)
    # A memory bank has one entry per train image, and the test split can be larger.
    batch = replace(batch, indices=batch.indices % method.train_info.num_images)
    torch.manual_seed(seed)
    return method.eval().panels(batch)
