"""The jobs of a plan: each encoder's effective settings, and keys over everything that could change its numbers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..checkpoints.location import content_hash, split_part
from ..checkpoints.registry import Checkpoint
from ..checkpoints.resolve import resolve_checkpoints
from ..data import DatasetInfo
from ..errors import UserError
from ..plugins.code_identity import absolute_import, code_identity
from ..plugins.discovery import ROOT, Plugin, needs_of, protocol_needs_of
from ..records import store as records
from ..storage.hashing import fingerprint
from ..training.recipe import PRESETS, Recipe
from .plan import Cell, Job, Plan, Request


def variants_of(protocol: Plugin) -> dict[str, dict[str, dict[str, Any]]]:
    """Method -> label -> settings that a protocol compares; empty for a protocol that takes any encoder."""
    return protocol.constants.get("variants") or {}


def jobs_of(plan: Plan, method: Plugin, seed: int) -> Iterator[Job]:
    """The jobs of a method: its encoder as requested, if a protocol takes any encoder, and each variant compared."""
    general = [protocol for protocol in plan.protocols if not variants_of(protocol)]
    if general or not plan.protocols:
        yield build_job(plan, method, seed, general)
    for protocol in plan.protocols:
        for label, changes in variants_of(protocol).get(method.name, {}).items():
            if not plan.request.variants or label in plan.request.variants:
                yield build_job(plan, method, seed, [protocol], label, changes)


def checkpoint_jobs(plan: Plan, words: Sequence[str], known: Mapping[str, Mapping[str, Plugin]]) -> Iterator[Job]:
    """A job for each checkpoint that ``--methods`` names, with the protocols that take any encoder."""
    request = plan.request
    fallback = Checkpoint(
        token=request.encoder,
        method=request.encoder,
        name=None,
        kind="file",
        encoder=request.encoder,
        plugin=plan.encoder,
        settings=plan.encoder_settings,
    )
    general = [protocol for protocol in plan.protocols if not variants_of(protocol)]
    if words and plan.protocols and not general:
        raise UserError(
            f"--methods {words[0]}: {plan.protocols[0].name} compares settings of a method, not checkpoints."
        )
    for word in words:
        for checkpoint in resolve_checkpoints(word, known, fallback, plan.dataset_info.image_size, plan.overrides):
            constants = {"trains": False, "input_mode": checkpoint.input_mode}
            method = Plugin("method", checkpoint.method, Path(), None, "", "", {}, constants)
            # Weights from elsewhere do not depend on the seed.
            for seed in request.seeds if checkpoint.kind == "untrained" else request.seeds[:1]:
                yield build_job(plan.with_encoder_of(checkpoint), method, seed, general, external=checkpoint)


def without_missing_taps(jobs: Sequence[Job], request: Request) -> tuple[tuple[Job, ...], tuple[str, ...]]:
    """The jobs without the cells of registered checkpoints that lack a tap, and a line for each of these checkpoints.

    Only METHOD@published and all@published leave checkpoints out, and only those that no other word names.
    """
    if not any(word.endswith("@published") for word in request.methods):
        return tuple(jobs), ()
    from ..checkpoints.detect import SkeletonCache

    skeletons = SkeletonCache(224)
    kept: list[Job] = []
    reasons: list[str] = []
    for job in jobs:
        checkpoint = job.external
        encoder = skeletons.get(checkpoint) if checkpoint and checkpoint.token not in request.methods else None
        if not (checkpoint and encoder and checkpoint.name):
            kept.append(job)
            continue
        taps = set(encoder.taps)
        cells = tuple(cell for cell in job.cells if taps.issuperset(cell.settings.get("taps") or ()))
        missing = {tap for cell in job.cells for tap in cell.settings.get("taps") or ()} - taps
        if not job.cells:  # nothing is measured, as for a map
            missing = set(request.taps or ()) - taps
        if missing:
            reasons.append(f"{checkpoint.token} has no tap {min(missing)}; name it with --taps {encoder.taps[-1]}.")
        if cells or not missing:
            kept.append(replace(job, cells=cells))
    return tuple(kept), tuple(reasons)


def deduplicated(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs with all cells of one encoder in one job, so that it is pretrained and its features are read once."""
    by_encoder: dict[str, Job] = {}
    for job in jobs:
        first = by_encoder.get(job.recipe_hash)
        by_encoder[job.recipe_hash] = replace(first, cells=first.cells + job.cells) if first else job
    return tuple(by_encoder.values())


def build_job(
    plan: Plan,
    method: Plugin,
    seed: int,
    protocols: Iterable[Plugin],
    variant: str = "",
    changes: Mapping[str, Any] = {},
    external: Checkpoint | None = None,
) -> Job:
    """One encoder with its effective settings, and its cells. Raises UserError if the encoder is impossible.

    ``changes`` are the variant's changes to settings of the method or, written ``recipe.batch_size``, of the recipe.
    """
    request = plan.request
    recipe_short, method_short = split_recipe_keys(short_run_settings(request.preset, method))
    recipe_changes, method_changes = split_recipe_keys(changes)
    settings = method.defaults | method_short | plan.overrides.get(method.name, {}) | method_changes
    unvaried = replace(
        Recipe(preset=request.preset, seed=seed, precision=request.precision),  # type: ignore[arg-type]
        **PRESETS[request.preset] | recipe_short | plan.overrides.get("recipe", {}),
    )
    recipe = unvaried.for_variant(recipe_changes)
    unvaried_recipe = {key: value for key, value in asdict(unvaried).items() if value != getattr(recipe, key)}
    checkpoint = Path(request.checkpoints[method.name]) if method.name in request.checkpoints else None
    trains = checkpoint is None and bool(method.constants.get("trains", True))
    if reason := incompatibility(plan, method, settings):
        raise UserError(reason)
    if trains:
        check_batch_size(plan.pretrain_info, recipe, variant if "batch_size" in recipe_changes else "")
    origin = external_origin(external, seed) if external else method_origin(method, settings, seed, checkpoint)
    decodes_files = bool(external and external.input_spec and plan.source.has_larger_pictures())
    if decodes_files:
        origin |= {"pictures": "from files"}
    code = encoder_code(plan)
    if trains:
        origin |= {"recipe": asdict(recipe) | {"preset": None}, "data": plan.pretrain_info.identity}
        if targets := plan.pretrain_source.target_identity(needs_of(method, settings)):
            origin |= {"targets": targets}
        if plan.pretrain_info.crop_side:
            origin |= {"crop_side": plan.pretrain_info.crop_side}
    if source := code | (training_code(plan, method) if trains else {}):
        origin |= {"source": source}
    recipe_hash = fingerprint(origin | encoder_identity(plan))
    return Job(
        method=method,
        settings=settings,
        deviations=changed_from_paper(method, settings, recipe, recipe_short | unvaried_recipe),
        recipe=recipe,
        unvaried_recipe=unvaried_recipe,
        recipe_hash=recipe_hash,
        checkpoint=checkpoint,
        trains=trains,
        encoder_code=code,
        decodes_files=decodes_files,
        cells=tuple(build_cell(plan, protocol, recipe_hash, variant, external) for protocol in protocols),
        external=external,
    )


def short_run_settings(preset: str, method: Plugin) -> dict[str, Any]:
    """The settings that a method changes in presets shorter than ``paper``."""
    return {} if preset == "paper" else method.constants.get("short_run_settings") or {}


def changed_from_paper(
    method: Plugin, settings: Mapping[str, Any], recipe: Recipe, recipe_keys: Iterable[str]
) -> dict[str, Any]:
    """The effective settings that differ from the paper's, with those fields of the recipe."""
    return {key: value for key, value in settings.items() if value != method.defaults.get(key)} | {
        f"recipe.{key}": getattr(recipe, key) for key in recipe_keys
    }


def split_recipe_keys(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the recipe, which are written ``recipe.key``, and those of the method."""
    prefix = "recipe."
    recipe = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    return recipe, {key: value for key, value in settings.items() if not key.startswith(prefix)}


def check_batch_size(data: DatasetInfo, recipe: Recipe, variant: str) -> None:
    """Raises UserError if there are fewer train images than a batch; ``variant`` is the one that set the batch size."""
    if data.train_images < recipe.batch_size:
        raise UserError(
            f"{data.name}: {data.train_images} train images are fewer than a batch of {recipe.batch_size}; "
            + (
                f"leave {variant} out by naming the other variants with --variant."
                if variant
                else f"use --set recipe.batch_size={max(2, data.train_images // 2)}."
            )
        )


def incompatibility(plan: Plan, method: Plugin, settings: Mapping[str, Any]) -> str | None:
    """Why a method cannot use this encoder or learn from these data, in one line; None if it can."""
    name, input_mode, encoder = method.name, method.constants.get("input_mode"), plan.encoder
    if input_mode == "halves" and "width" not in plan.encoder_settings:
        return f"{name} splits its encoder in two by width, and {encoder.name} has no width; use --encoder convnet."
    if not method.constants.get("trains", True) or name in plan.request.checkpoints:
        return None
    if input_mode == "patches" and not encoder.constants.get("patchwise"):
        return (
            f"{name} shows its encoder only some patches of an image, and {encoder.name} needs all; use --encoder vit."
        )
    if missing := needs_of(method, settings) - plan.pretrain_source.provides:
        wanted = ", ".join(sorted(missing))
        return f"{name} needs {wanted}, which {plan.pretrain_info.name} lacks; choose another --pretrain-dataset."
    return None


def external_origin(checkpoint: Checkpoint, seed: int) -> dict[str, Any]:
    """What identifies the weights of a checkpoint, for the key of its cells."""
    input_spec = asdict(checkpoint.input_spec) if checkpoint.input_spec else None
    identity = {"checkpoint": checkpoint.token} | checkpoint.identity(seed)
    return identity | {"sees": checkpoint.input_mode, "wants": input_spec}


def method_origin(method: Plugin, settings: Mapping[str, Any], seed: int, file: Path | None) -> dict[str, Any]:
    """What identifies the weights of a method, apart from recipe and data, for the key of its cells."""
    if file:
        return {"method": method.name, "file": checkpoint_hash(file)}
    return {"method": method.name, "settings": settings, "seed": seed}


def checkpoint_hash(file: Path) -> str:
    """SHA-256 of a checkpoint's bytes. Raises UserError if there is no such file."""
    if not split_part(file)[0].is_file():
        raise UserError(f"--checkpoint: {file} does not exist; give the path of a .safetensors or torch file.")
    return content_hash(file)


def encoder_identity(plan: Plan) -> dict[str, Any]:
    """What identifies an encoder apart from its weights: name, settings and input size."""
    return {
        "encoder": plan.request.encoder,
        "encoder_settings": plan.encoder_settings,
        "image_size": plan.dataset_info.image_size,
    }


def encoder_code(plan: Plan) -> dict[str, str]:
    """What identifies the encoder's code; empty for the released code of the product."""
    files = [plan.encoder.path]
    if plan.encoder.name == "own":  # the module that --encoder-from names
        files += absolute_import(str(plan.encoder_settings["name"]).partition(":")[0], ())
    return code_identity(files)


def training_code(plan: Plan, method: Plugin) -> dict[str, str]:
    """What identifies the code that pretrains: the method, the loop, and the reader of the data."""
    return code_identity([method.path, ROOT / "bench/training/loop.py", source_file(plan.pretrain_source)])


def source_file(instance: object) -> Path:
    """The file that defines an object's class."""
    return Path(inspect.getfile(type(instance)))


def build_cell(
    plan: Plan, protocol: Plugin, recipe_hash: str, variant: str, external: Checkpoint | None = None
) -> Cell:
    """One protocol applied to one encoder, with its effective settings and its key.

    A checkpoint is read at the place where its published numbers were read, unless a setting says otherwise.
    """
    request = plan.request
    reading = external.pooling_for(protocol.name) if external and "pooling" in protocol.settings else ""
    settings = (
        protocol.defaults
        | (protocol.constants.get("presets") or {}).get(request.preset, {})
        | ({"taps": tuple(dict.fromkeys(request.taps))} if request.taps else {})
        | ({"pooling": reading} if reading else {})
        | plan.overrides.get(protocol.name, {})
    )
    settings = protocol.without_later_defaults(settings)
    files = [protocol.path, ROOT / "bench/evaluation/representation.py", source_file(plan.source)]
    source = code_identity(files) or None
    data = plan.data_identity(protocol_needs_of(protocol))
    key = fingerprint([recipe_hash, data, protocol.name, settings, request.precision, source])
    measured = not request.overwrite and records.find(request.results / "records", key) is not None
    return Cell(protocol=protocol, settings=settings, variant=variant, key=key, measured=measured)
