"""The parts of a record that are known before the protocol runs: settings, weights, data and machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from ..checkpoints.location import content_hash
from ..data import Dataset, DatasetInfo, DatasetSource
from ..planning.plan import Cell, Job, Plan
from ..plugins.discovery import protocol_needs_of
from ..records.provenance import current_provenance
from ..records.record import (
    CellNames,
    CellSettings,
    Cost,
    ExternalCheckpoint,
    Identity,
    Record,
    WeightsSource,
    without_foreign_budget,
)
from ..records.typed_json import reader_of
from .encoder import Weights

NO_COST = {"pretrain_seconds": 0.0, "pretrain_views": 0, "pretrain_flops": 0}


def record_header(plan: Plan, job: Job, cell: Cell, device: torch.device, weights: Weights | None = None) -> Record:
    """A record with everything that is known before the protocol runs; without ``weights`` if pretraining failed."""
    metadata = weights.metadata if weights else {}
    plan = plan.with_encoder_of(job.external)
    request, targets = plan.request, plan.source.target_identity(protocol_needs_of(cell.protocol))
    record = Record(
        key=cell.key,
        cell=CellNames(
            method=job.method.name,
            checkpoint=checkpoint_name(job),
            encoder=request.encoder,
            dataset=plan.dataset_info.name,
            pretrain_dataset=plan.pretrain_info.name,
            protocol=cell.protocol.name,
            variant=cell.variant,
            seed=job.recipe.seed,
            preset=job.recipe.preset,
        ),
        settings=CellSettings(
            method=job.settings,
            encoder=plan.encoder_settings,
            recipe=asdict(job.recipe),
            unvaried_recipe=job.unvaried_recipe,
            dataset=dataset_settings(request.dataset, plan.source, plan.dataset_info)
            | ({} if request.limit is None else {"limit": request.limit})
            | ({"targets": targets} if targets else {}),
            pretrain_dataset=dataset_settings(
                request.pretrain_dataset or request.dataset, plan.pretrain_source, plan.pretrain_info
            ),
            protocol=cell.settings,
        ),
        identity=Identity(
            dataset=plan.dataset_info.identity,
            pretrain_dataset=plan.pretrain_info.identity,
            recipe=job.recipe_hash,
        ),
        deviations=job.deviations,
        card={},
        source=weights_source(job, weights, own_reading(job, cell)),
        cost=reader_of(Cost)(metadata.get("cost", NO_COST)),
        pretext=metadata.get("pretext", {}),
        provenance=current_provenance(device),
    )
    return without_foreign_budget(record)


def checkpoint_name(job: Job) -> str | None:
    """The name of a registered checkpoint or of the file that ``--checkpoint`` gives; None without either."""
    if job.external:
        return job.external.name
    return job.checkpoint.name if job.checkpoint else None


def own_reading(job: Job, cell: Cell) -> dict[str, Any]:
    """The pooling that a checkpoint brings, and the protocol's default in its place (None: not part of its card)."""
    pooling = job.external.pooling_for(cell.protocol.name) if job.external else ""
    if not pooling or cell.settings.get("pooling") != pooling:
        return {}
    return {"pooling": pooling, "default": cell.protocol.defaults.get("pooling")}


def weights_source(job: Job, weights: Weights | None, reading: Mapping[str, Any] = {}) -> WeightsSource:
    """Where the encoder's weights came from, and where they were made; ``reading`` is that of `own_reading`."""
    file = weights.file if weights else None
    metadata = weights.metadata if weights else {}
    external = job.external.record_source | metadata.get("source", {}) if job.external else None
    return WeightsSource(
        kind=weights.kind if weights else "failed",
        # Two files of weights that a user gives are often of one name: the folder's name distinguishes them.
        file=(f"{file.resolve().parent.name}/" * bool(job.checkpoint) + file.name) if file else None,
        sha256=content_hash(file) if file else None,
        # The weights may be older than the measurement, and made on another machine.
        **{name: metadata[name] for name in ("commit", "precision", "device", "threads") if name in metadata},
        needs=None if job.external else tuple(sorted(job.needs)),
        checkpoint=ExternalCheckpoint(**external, reading=reading) if external else None,
    )


def dataset_settings(name: str, source: DatasetSource, info: DatasetInfo) -> dict[str, Any]:
    """A data set's plugin and settings, without its directory: the data's identity is recorded instead.

    ``range`` is the range of values that was used, also if no setting gave it. ``crop_margin`` is left out where it
    has no effect, because all crops come from the images themselves, and so are ``later_settings`` with the values
    given there, see `Plugin.without_later_defaults`.
    """
    idle = {"crop_margin"} if info.crop_side is None and asdict(source).get("crop_margin") != 1 else set()
    later: dict[str, Any] = getattr(source, "later_settings", {})
    settings = {
        key: value
        for key, value in asdict(source).items()
        if key not in {"data_dir", *idle} and (key not in later or value != later[key])
    }
    return (
        {"source": name.partition("/")[0]} | settings | ({"range": list(info.value_range)} if info.value_range else {})
    )


def split_sizes(dataset: Dataset) -> dict[str, Any]:
    """The part of a protocol card that depends on the data."""
    return {"train_images": len(dataset.train), "test_images": len(dataset.test), "classes": len(dataset.classes)}
