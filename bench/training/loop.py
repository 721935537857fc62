"""The pretraining loop, the same for all methods.

It yields each step, so that progress bars and files are left to the caller.
"""

from __future__ import annotations

import copy
import logging
import math
import time
import zipfile
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
from ..images.larger import move_images
from ..method import Batch, Method
from ..precision import low_precision
from ..storage.atomic import atomic_write
from . import distributed
from .recipe import Recipe


class Diverged(Exception):
    """The loss is NaN or infinite; the message names the step."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One finished training step."""

    step: int  # from 1
    steps: int  # of the whole run
    loss: float
    seconds: float
    logged: dict[str, float]  # empty for the steps of an interrupted run


def optimiser_steps(method: Method, recipe: Recipe) -> int:
    """The number of optimiser steps that spend the recipe's budget of views."""
    return max(1, round(recipe.views / (recipe.batch_size * method.views_per_image)))


def learning_rate_factor(progress: float, warmup: float) -> float:
    """The factor of the learning rate at a progress in [0, 1]: a linear rise to 1, then half a cosine down to 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def batch_indices(images: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yields image indices (batch_size,) without end, in an order that depends only on the seed.

    Each epoch has a new random order; the last images of an epoch are left out where they do not fill a batch.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(images, generator=generator)
        yield from order[: images // batch_size * batch_size].split(batch_size)


def pretrain(
    method: Method, split: Split, recipe: Recipe, device: torch.device, resume_file: Path, *, save_every: float = 120.0
) -> Generator[Step, None, None]:
    """Trains the method in place over the recipe's budget, yielding each step, those of an interrupted run first.

    Every ``save_every`` seconds, when the caller closes the generator and when a batch cannot be read, the training
    state is saved to ``resume_file``. A resumed run gives the same weights as an uninterrupted one, bit for bit, since
    the random numbers of a step depend only on the seed and the step's number. With several processes, each trains on
    its shard of every batch, and only the first one saves. Raises Diverged where the loss is not finite.
    """
    method.train().to(device)
    optimiser = build_optimiser(method, recipe)
    steps = optimiser_steps(method, recipe)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=low_precision(device, recipe.precision))
    history = restore_training_state(resume_file, method, optimiser)
    for done, (loss, seconds) in enumerate(history, 1):
        yield Step(step=done, steps=steps, loss=loss, seconds=seconds, logged={})
    done, split = len(history), move_to_device(split, device)
    order = batch_indices(len(split), recipe.batch_size, recipe.seed)
    batch_norm_context = distributed.synchronised_batch_norm if method.sync_batch_norm else nullcontext
    saved = began = time.monotonic()
    try:
        for step in range(1, steps + 1):
            indices = next(order)
            if step <= done:
                continue
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * learning_rate_factor((step - 0.5) / steps, recipe.warmup)
            torch.manual_seed((recipe.seed << 32) + (distributed.rank() << 24) + step)
            with autocast, batch_norm_context(method):
                objective = method.loss(make_batch(method, split, distributed.shard(indices), device))
            loss = distributed.all_reduce_mean(objective.detach()).item()
            if not math.isfinite(loss):
                resume_file.unlink(missing_ok=True)
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
                try_to_save_training_state(resume_file, method, optimiser, history)
                saved = time.monotonic()
            began = time.monotonic()
    except (GeneratorExit, UserError):  # raised between steps; Ctrl-C may come in the middle of one
        if 0 < done < steps:
            try_to_save_training_state(resume_file, method, optimiser, history)
        raise


def build_optimiser(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser, without weight decay for biases and normalisation weights."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def move_to_device(split: Split, device: torch.device) -> Split:
    """The split with its tensors moved to the device, so that a batch is selected there; files stay on disk."""
    moved: dict[str, Any] = {name: value.to(device) for name, value in vars(split).items() if isinstance(value, Tensor)}
    return replace(split, **moved)


def make_batch(method: Method, split: Split, indices: Tensor, device: torch.device) -> Batch:
    """The images at the indices (N,), with what the method declares in ``needs`` and nothing else."""

    def select_if_needed(name: str, values: Any) -> Any:
        if name not in method.needs:
            return None
        if isinstance(values, tuple):
            return tuple(values[i] for i in indices.tolist())
        return values[indices % len(values)].to(device)

    return Batch(
        images=move_images(split.images[indices], device),
        indices=indices.to(device),
        labels=select_if_needed("labels", split.labels),
        clips=select_if_needed("clips", split.clips),
        depth=select_if_needed("depth", split.depth),
        captions=select_if_needed("captions", split.captions),
    )


def count_step_flops(method: Method, split: Split, recipe: Recipe, device: torch.device) -> int:
    """Floating-point operations of one step on a whole batch, forward and backward.

    The state of the method and of the random number generator is restored afterwards.
    """
    state = {name: value.clone() for name, value in method.state_dict().items()}
    indices = distributed.shard(torch.arange(recipe.batch_size))
    with FlopCounterMode(display=False) as counter, torch.random.fork_rng(devices=[]):
        method.loss(make_batch(method, split, indices, device)).backward()
    method.load_state_dict(state)
    method.zero_grad(set_to_none=True)
    return int(counter.get_total_flops()) * distributed.world_size()


def save_training_state(
    path: Path, method: Method, optimiser: torch.optim.Optimizer, history: list[tuple[float, float]]
) -> None:
    """Writes what is needed to resume: weights, optimiser, and loss and seconds of each step. Only process 0 writes."""
    if distributed.rank():
        return
    state = {"history": history, "method": method.state_dict(), "optimiser": optimiser.state_dict()}
    packed = BytesIO()
    torch.save(state, packed)
    atomic_write(path, packed.getvalue())


def try_to_save_training_state(
    path: Path, method: Method, optimiser: torch.optim.Optimizer, history: list[tuple[float, float]]
) -> None:
    """Saves the training state; where the disk is full, warns and leaves the older file, so that training goes on."""
    try:
        save_training_state(path, method, optimiser, history)
    except UserError as error:
        logging.getLogger(__name__).warning("%s", error)


def restore_training_state(path: Path, method: Method, optimiser: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """Loads a saved state into method and optimiser; returns loss and seconds of each step done, or [] without a file.

    A damaged file, or one of another run, is renamed with a warning, and method and optimiser are left unchanged.
    """
    if not path.exists():
        return []
    fresh = copy.deepcopy((method.state_dict(), optimiser.state_dict()))
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums in its own file
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} in it is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        history = [(float(loss), float(seconds)) for loss, seconds in state["history"]]
        method.load_state_dict(state["method"])
        optimiser.load_state_dict(state["optimiser"])
    except Exception as error:
        method.load_state_dict(fresh[0])
        optimiser.load_state_dict(fresh[1])
        renamed = path.replace(path.with_name(f"{path.name}.damaged"))
        logging.getLogger(__name__).warning(
            "%s: this interrupted run cannot be resumed (%s); the file was renamed to %s, and the run starts again.",
            path, str(error).partition("\n")[0], renamed.name,
        )  # fmt: skip
        return []
    return history
