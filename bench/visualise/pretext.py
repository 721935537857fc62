"""One picture of a pretext task: what goes in, what is asked, what comes out of the trained method.

A method's heads are kept in the cache beside its encoder. Where only the encoder is there, as in the
bundle, its heads are taught first, with the encoder left as it is.
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
from ..errors import UserError
from ..method import Method, Panel
from ..planning.plan import Data, Job, Plan
from ..progress import Progress
from ..run.encoder import encoder_of, read, train_facts
from ..run.preflight import checked, device_of
from ..run.runner import reason
from ..training.loop import batch_of, pretrain
from .grid import sheet

TEACHING_VIEWS = 40_000  # the budget for heads alone: with the encoder done, they need little
BATCH = 64  # images given to the method; those that are not drawn are what contrastive methods compare with


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The picture is there, or, without a file, why it is not."""

    file: Path | None
    origin: str  # where encoder and heads came from


def shown(plan: Plan, images: int, file: Path) -> Generator[Progress | Drawn, None, None]:
    """Draws the pretext task of the plan's one method on so many test images."""
    (job,) = plan.jobs
    name, needs = job.method.name, job.needs
    check_shown(plan, job)
    check_file(file)
    data, device = Data(plan), device_of(plan.request.device)
    test = data.probing(needs).test  # before any training, so that pictures that cannot be read are told now
    read(plan, [job], data)
    try:
        method, origin = yield from method_of(plan, job, data, device)
        yield Progress(title=f"{name}: drawing", done=0, total=1)
        # Clips are few: an index names one of its own only as far as there are any.
        chosen = of_all_classes(
            test.labels[: None if test.clips is None else len(test.clips)], max(images, BATCH), job.recipe.seed
        )
        panels = answers(method, test, chosen, job.recipe.seed, device)
    except UserError:
        raise
    except Exception as error:
        yield Drawn(file=None, origin=reason(error))
        return
    labels = test.labels[chosen[:images]].tolist() if "labels" in needs else ()
    elsewhere = f" pretrained on {plan.pretrain_facts.name}," if plan.pretrain_facts != plan.facts else ""
    sheet(
        [replace(panel, images=panel.images[:images], captions=panel.captions[:images]) for panel in panels],
        job.method.summary,
        file,
        rows=[f"{label}: {plan.facts.classes[label]}" for label in labels],
        foot=f"test images of {plan.facts.name};{elsewhere} {plan.request.encoder}, {job.recipe.preset}, "
        f"seed {job.recipe.seed}; {origin}",
    )
    yield Drawn(file=file, origin=origin)


def check_shown(plan: Plan, job: Job) -> None:
    """Raises UserError where the method shows nothing, or the test images lack what it needs."""
    name, data = job.method.name, plan.facts.name
    if job.method.load().panels is Method.panels:  # type: ignore[attr-defined]
        raise UserError(f"show: {name} does not say how its task looks; give its class a method panels(batch).")
    if lacking := job.needs - plan.source.provides:
        raise UserError(
            f"show: {name} needs {', '.join(sorted(lacking))}, which {data} does not provide; choose another --dataset."
        )
    if "labels" in job.needs and plan.facts.classes != plan.pretrain_facts.classes:
        raise UserError(
            f"show: {name} learns the classes of {plan.pretrain_facts.name}, which {data} does not have; "
            "choose the same for --dataset and --pretrain-dataset."
        )
    checked(plan, plan.jobs)


def check_file(file: Path) -> None:
    """Raises UserError where the picture could not be stored."""
    if file.suffix.lower() != ".png":
        raise UserError(f"--out {file}: the picture is a PNG file; let its name end in .png.")
    if file.is_dir():
        raise UserError(f"--out {file}: is a folder; name a file.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise UserError(
            f"--out {file}: cannot be written ({error.strerror}); choose a file in a folder of yours."
        ) from None


def method_of(plan: Plan, job: Job, data: Data, device: torch.device) -> Generator[Progress, None, tuple[Method, str]]:
    """The job's trained method in eval mode, and where its encoder and heads came from. Raises Diverged."""
    encoder, weights = yield from encoder_of(plan, job, data, device)
    torch.manual_seed(job.recipe.seed)
    # Built after the weights are in, so that a teacher starts as a copy of them.
    method: Method = job.method.load()(encoder, train_facts(plan), **job.settings)
    method.to(device).to(memory_format=torch.channels_last)
    file = checkpoints.cached_heads(job.recipe_hash)
    facts, when = checkpoints.load_heads(file, method), "earlier"
    if facts is None:
        when = "now"
        steps = yield from taught(method, data.pretraining(method.needs).train, job, device)
        facts = {"method": job.method.name, "settings": job.settings, "recipe": asdict(job.recipe)}
        facts |= {"recipe_hash": job.recipe_hash, "taught_steps": steps}
        checkpoints.save_heads(file, method, facts)
    source = {"pretrained": "pretrained now", "cached": "from the cache"}.get(weights.kind, weights.kind)
    if "taught_steps" not in facts:
        return method.eval(), f"encoder and heads {source}"
    steps = facts["taught_steps"]
    heads = f"heads taught {when} on it, frozen, in {steps} steps" if steps else "no heads to teach"
    return method.eval(), f"encoder {source}, {heads}"


def taught(method: Method, split: Split, job: Job, device: torch.device) -> Generator[Progress, None, int]:
    """Teaches the heads of a method whose encoder, weights and batch statistics, stays as it is; returns the steps."""
    method.encoder.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in method.parameters()):
        return 0

    def still(module: nn.Module, _: object) -> None:
        module.training = False  # whatever mode the training loop has put it in

    hooks = [module.register_forward_pre_hook(still) for module in method.encoder.modules()]
    recipe = replace(
        job.recipe, views=min(TEACHING_VIEWS, job.recipe.views), batch_size=min(job.recipe.batch_size, len(split))
    )
    stem = f"{job.recipe_hash}-{weights_hash(method.encoder)}"
    partial = checkpoints.interrupted(f"{stem}.heads")
    done = 0
    with closing(pretrain(method, split, recipe, device, partial)) as training:
        for step in training:
            done, note = step.step, f"loss {step.loss:.3f}"
            yield Progress(title=f"{job.method.name}: teaching heads", done=step.step, total=step.steps, note=note)
    partial.unlink(missing_ok=True)
    for hook in hooks:
        hook.remove()
    return done


def of_all_classes(labels: Tensor, size: int, seed: int) -> Tensor:
    """Indices of at most ``size`` images in random order, one of every class before a second of any."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    earlier: Counter[int] = Counter()
    rounds = []
    for label in labels[order].tolist():
        rounds.append(earlier[label])
        earlier[label] += 1
    return order[torch.tensor(rounds).argsort(stable=True)][:size]


@torch.no_grad()
def answers(method: Method, split: Split, indices: Tensor, seed: int, device: torch.device) -> list[Panel]:
    """The method's panels for the images at the indices of a split, the same for the same seed."""
    batch = batch_of(method, split, indices, device)
    # A memory bank has places for the train split alone.
    batch = replace(batch, indices=batch.indices % method.facts.images)
    torch.manual_seed(seed)
    return method.eval().panels(batch)
