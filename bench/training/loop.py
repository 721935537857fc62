"""The only pretraining loop: yields losses, so progress bars and files live outside."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..data import Split
from ..errors import UserError
from ..method import Batch, Method
from ..precision import low_precision
from ..storage.atomic import write_whole
from . import distributed
from .recipe import Recipe


class Diverged(Exception):
    """The loss stopped being a number; says at which step."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step tells the world."""

    step: int  # from 1
    steps: int
    loss: float
    seconds: float
    logged: dict[str, float]


def steps_of(method: Method, recipe: Recipe) -> int:
    """Optimiser steps that spend the budget of views."""
    return max(1, round(recipe.views / (recipe.batch_size * method.views_per_image)))


def schedule(progress: float, warmup: float) -> float:
    """Share of the learning rate at a progress in [0, 1]: a linear rise, then a half cosine to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def batches(images: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Endless indices (batch_size,): epochs in random order, the same for every method; a short rest is left out."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(images, generator=generator)
        yield from order[: images // batch_size * batch_size].split(batch_size)


def pretrain(
    method: Method, split: Split, recipe: Recipe, device: torch.device, resume: Path, *, save_every: float = 120.0
) -> Generator[Step, None, None]:
    """Trains the method in place over the recipe's budget, yielding each step, those of an interrupted run first.

    Every ``save_every`` seconds, when the caller closes the generator and when a batch cannot be
    read, all that is needed to go on is written to ``resume``; a run that goes on is the run that
    was never stopped, since each step draws its randomness from the seed and its own number. Of
    several processes each trains on its share of every batch, and the first writes.
    Raises Diverged with the step at which the loss is not finite.
    """
    method.train().to(device)
    optimiser = optimiser_of(method, recipe)
    steps = steps_of(method, recipe)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=low_precision(device, recipe.precision))
    history = restore(resume, method, optimiser)
    for done, (loss, seconds) in enumerate(history, 1):
        yield Step(step=done, steps=steps, loss=loss, seconds=seconds, logged={})
    done, split = len(history), resident(split, device)
    order = batches(len(split), recipe.batch_size, recipe.seed)
    norms = distributed.shared_batch_norm if method.synchronised else nullcontext
    saved = began = time.monotonic()
    try:
        for step in range(1, steps + 1):
            indices = next(order)
            if step <= done:
                continue
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * schedule((step - 0.5) / steps, recipe.warmup)
            torch.manual_seed((recipe.seed << 32) + (distributed.rank() << 24) + step)
            with autocast, norms(method):
                objective = method.loss(batch_of(method, split, distributed.shard(indices), device))
            loss = distributed.all_reduce_mean(objective.detach()).item()
            if not math.isfinite(loss):
                resume.unlink(missing_ok=True)
                raise Diverged(f"the loss was {loss} at step {step} of {steps}")
            optimiser.zero_grad(set_to_none=True)
            objective.backward()
            distributed.average_gradients(method.parameters())
            optimiser.step()
            method.after_step(step / steps)
            logged = {name: value.item() for name, value in method.logged.items()}
            seconds = time.monotonic() - began
            history.append((loss, seconds))
            done = step
            yield Step(step=step, steps=steps, loss=loss, seconds=seconds, logged=logged)
            if step < steps and time.monotonic() - saved > save_every:
                save(resume, method, optimiser, history)
                saved = time.monotonic()
            began = time.monotonic()
    except (GeneratorExit, UserError):  # between steps, or over a batch not to be had; Ctrl-C would leave half of one
        if 0 < done < steps:
            save(resume, method, optimiser, history)
        raise


def optimiser_of(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; biases and normalisation weights do not decay."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def resident(split: Split, device: torch.device) -> Split:
    """The split with what lies in memory moved to the device, so that a batch is an index select there."""
    moved: dict[str, Any] = {name: value.to(device) for name, value in vars(split).items() if isinstance(value, Tensor)}
    return replace(split, **moved)


def batch_of(method: Method, split: Split, indices: Tensor, device: torch.device) -> Batch:
    """The images at the indices (N,), with what the method needs and nothing else."""

    def needed(name: str, values: Any) -> Any:
        if name not in method.needs:
            return None
        if isinstance(values, tuple):
            return tuple(values[i] for i in indices.tolist())
        return values[indices % len(values)].to(device)

    return Batch(
        images=split.images[indices].to(device, non_blocking=True),
        indices=indices.to(device),
        labels=needed("labels", split.labels),
        clips=needed("clips", split.clips),
        depth=needed("depth", split.depth),
        captions=needed("captions", split.captions),
    )


def flops_of_step(method: Method, split: Split, recipe: Recipe, device: torch.device) -> int:
    """Floating-point operations of a whole batch, forward and back; leaves method and randomness as they were."""
    state = {name: value.clone() for name, value in method.state_dict().items()}
    indices = distributed.shard(torch.arange(recipe.batch_size))
    with FlopCounterMode(display=False) as counter, torch.random.fork_rng(devices=[]):
        method.loss(batch_of(method, split, indices, device)).backward()
    method.load_state_dict(state)
    method.zero_grad(set_to_none=True)
    return counter.get_total_flops() * distributed.world_size()


def save(path: Path, method: Method, optimiser: torch.optim.Optimizer, history: list[tuple[float, float]]) -> None:
    """Writes all that a run needs to go on, and the loss and seconds of each step done; only the first process does."""
    if distributed.rank():
        return
    state = {"history": history, "method": method.state_dict(), "optimiser": optimiser.state_dict()}
    packed = BytesIO()
    torch.save(state, packed)
    write_whole(path, packed.getvalue())


def restore(path: Path, method: Method, optimiser: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """Loss and seconds of the steps already done according to ``path``; none where there is nothing to go on from.

    A file that is damaged or of another run is set aside, with a warning, and leaves method and optimiser as they were.
    """
    if not path.exists():
        return []
    fresh = copy.deepcopy((method.state_dict(), optimiser.state_dict()))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        history = [(float(loss), float(seconds)) for loss, seconds in state["history"]]
        method.load_state_dict(state["method"])
        optimiser.load_state_dict(state["optimiser"])
    except Exception as error:
        method.load_state_dict(fresh[0])
        optimiser.load_state_dict(fresh[1])
        aside = path.replace(path.with_name(f"{path.name}.damaged"))
        logging.getLogger(__name__).warning(
            "%s: cannot go on from this interrupted run (%s); it was renamed to %s, and the run starts again.",
            path, str(error).partition("\n")[0], aside.name,
        )  # fmt: skip
        return []
    return history
