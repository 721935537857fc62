"""The jobs of a plan: each encoder's effective settings, and keys over everything that could change its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..checkpoints.registry import Checkpoint
from ..checkpoints.resolve import checkpoints
from ..errors import UserError
from ..plugins.discovery import Plugin
from ..records import record as records
from ..storage.hashing import file_hash, fingerprint
from ..training.recipe import PRESETS, Recipe
from .plan import Cell, Job, Plan, needs_of


def variants(protocol: Plugin) -> dict[str, dict[str, dict[str, Any]]]:
    """Method -> label -> settings that a protocol compares; none where it asks about encoders as they are."""
    return protocol.constants.get("variants") or {}


def jobs_of(planned: Plan, method: Plugin, seed: int) -> Iterator[Job]:
    """A method's encoder as it was asked for, if a protocol asks about it, and each variant that one compares."""
    plain = [protocol for protocol in planned.protocols if not variants(protocol)]
    if plain or not planned.protocols:
        yield job_of(planned, method, seed, plain)
    for protocol in planned.protocols:
        for label, changes in variants(protocol).get(method.name, {}).items():
            if not planned.request.variants or label in planned.request.variants:
                yield job_of(planned, method, seed, [protocol], label, changes)


def foreign_jobs(planned: Plan, words: Sequence[str], known: Mapping[str, Mapping[str, Plugin]]) -> Iterator[Job]:
    """A job for each checkpoint that was asked for, with the protocols that take any encoder as it is."""
    request = planned.request
    asked = Checkpoint(
        token=request.encoder,
        method=request.encoder,
        name=None,
        kind="file",
        encoder=request.encoder,
        plugin=planned.encoder,
        settings=planned.encoder_settings,
    )
    plain = [protocol for protocol in planned.protocols if not variants(protocol)]
    if words and planned.protocols and not plain:
        raise UserError(
            f"--methods {words[0]}: {planned.protocols[0].name} compares settings of a method, not checkpoints."
        )
    for word in words:
        for found in checkpoints(word, known, asked, planned.facts.image_size):
            method = Plugin(
                "method", found.method, Path(), None, "", "", {}, {"trains": False, "input_mode": found.input_mode}
            )
            # Weights from elsewhere are what they are: another seed would not change them.
            for seed in request.seeds if found.kind == "untrained" else request.seeds[:1]:
                yield job_of(planned.with_encoder_of(found), method, seed, plain, foreign=found)


def merged(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Jobs about the same encoder made one, so that it is pretrained and read once."""
    found: dict[str, Job] = {}
    for job in jobs:
        first = found.get(job.recipe_hash)
        found[job.recipe_hash] = replace(first, cells=first.cells + job.cells) if first else job
    return tuple(found.values())


def job_of(
    planned: Plan,
    method: Plugin,
    seed: int,
    protocols: Iterable[Plugin],
    variant: str = "",
    changes: Mapping[str, Any] = {},
    foreign: Checkpoint | None = None,
) -> Job:
    """One encoder with its effective settings, and its cells; raises UserError where it cannot be had.

    ``changes`` are those of the variant, to the method's settings or, written ``recipe.batch_size``, to the recipe.
    """
    request, overrides, data = planned.request, planned.overrides, planned.pretrain_facts
    short = {} if request.preset == "paper" else method.constants.get("short_run_settings") or {}
    recipe_short, method_short = parted(short)
    recipe_changes, method_changes = parted(changes)
    settings = method.defaults | method_short | overrides.get(method.name, {}) | method_changes
    unvaried = replace(
        Recipe(preset=request.preset, seed=seed, precision=request.precision),  # type: ignore[arg-type]
        **PRESETS[request.preset] | recipe_short | overrides.get("recipe", {}),
    )
    recipe = unvaried.varied(recipe_changes)
    others = {key: value for key, value in asdict(unvaried).items() if value != getattr(recipe, key)}
    checkpoint = Path(request.checkpoints[method.name]) if method.name in request.checkpoints else None
    trains = checkpoint is None and bool(method.constants.get("trains", True))
    if reason := unfit(planned, method, settings):
        raise UserError(reason)
    if trains and data.train_images < recipe.batch_size:
        raise UserError(
            f"{data.name}: {data.train_images} train images are fewer than a batch of {recipe.batch_size}; "
            + (
                f"leave {variant} out, naming the others by --variant."
                if "batch_size" in recipe_changes
                else f"--set recipe.batch_size={max(2, data.train_images // 2)} fits."
            )
        )
    if foreign:
        origin: dict[str, Any] = {"checkpoint": foreign.token} | foreign.identity(seed)
        origin |= {"sees": foreign.input_mode, "wants": asdict(foreign.input_spec) if foreign.input_spec else None}
    elif checkpoint:
        origin = {"method": method.name, "file": hash_of(checkpoint)}
    else:
        origin = {"method": method.name, "settings": settings, "seed": seed}
    if trains:
        origin |= {"recipe": asdict(recipe) | {"preset": None}, "data": data.identity}
    recipe_hash = fingerprint(origin | encoder_identity(planned, method))
    return Job(
        method=method,
        settings=settings,
        deviations={key: value for key, value in settings.items() if value != method.defaults.get(key)}
        | {f"recipe.{key}": getattr(recipe, key) for key in recipe_short | others},
        recipe=recipe,
        unvaried_recipe=others,
        recipe_hash=recipe_hash,
        checkpoint=checkpoint,
        trains=trains,
        cells=tuple(cell_of(planned, protocol, recipe_hash, variant) for protocol in protocols),
        foreign=foreign,
    )


def parted(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the recipe, which are written ``recipe.key``, and those of the method."""
    prefix = "recipe."
    recipe = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    return recipe, {key: value for key, value in settings.items() if not key.startswith(prefix)}


def unfit(planned: Plan, method: Plugin, settings: Mapping[str, Any]) -> str | None:
    """Why a method cannot have its encoder or learn from these data, in one line; None where it can."""
    name, input_mode, encoder = method.name, method.constants.get("input_mode"), planned.encoder
    if input_mode == "halves" and "width" not in planned.encoder_settings:
        return f"{name} halves its encoder's width, which {encoder.name} does not have; --encoder convnet has."
    if not method.constants.get("trains", True) or name in planned.request.checkpoints:
        return None
    if input_mode == "patches" and not encoder.constants.get("patchwise"):
        return (
            f"{name} shows its encoder some patches of a picture, which {encoder.name} cannot see; --encoder vit can."
        )
    if lacking := needs_of(method, settings) - planned.pretrain_source.provides:
        data, wanted = planned.pretrain_facts.name, ", ".join(sorted(lacking))
        return f"{name} needs {wanted}, which {data} does not provide; choose another --pretrain-dataset."
    return None


def encoder_identity(planned: Plan, method: Plugin) -> dict[str, Any]:
    """What an encoder is before any weights: its name and settings, and all code that is no part of ours."""
    files = [plugin.path for plugin in (method, planned.encoder) if plugin.module is None and plugin.path.name]
    if planned.encoder.name == "own":  # what --encoder-from names, where it is a file
        own = Path(str(planned.encoder_settings["name"]).partition(":")[0].replace(".", "/") + ".py")
        files += [own] if own.is_file() else []
    return {
        "encoder": planned.request.encoder,
        "encoder_settings": planned.encoder_settings,
        "image_size": planned.facts.image_size,
        # Such code may change between two runs.
        **({"source": [file_hash(path) for path in files]} if files else {}),
    }


def hash_of(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's bytes; raises UserError where there is no such file."""
    if not checkpoint.is_file():
        raise UserError(f"--checkpoint: {checkpoint} does not exist; give the path of a .safetensors or torch file.")
    return file_hash(checkpoint)


def cell_of(planned: Plan, protocol: Plugin, recipe_hash: str, variant: str) -> Cell:
    """A protocol's question about an encoder."""
    request = planned.request
    settings = (
        protocol.defaults
        | (protocol.constants.get("presets") or {}).get(request.preset, {})
        | ({"taps": tuple(dict.fromkeys(request.taps))} if request.taps else {})
        | planned.overrides.get(protocol.name, {})
    )
    source = file_hash(protocol.path) if protocol.module is None else None
    key = fingerprint([recipe_hash, planned.facts.identity, protocol.name, settings, request.precision, source])
    measured = not request.overwrite and records.find(request.results / "records", key) is not None
    return Cell(protocol=protocol, settings=settings, variant=variant, key=key, measured=measured)
