"""The parts of a record that are known before the protocol runs: settings, weights, data and machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ..checkpoints.location import content_hash
from ..data import Dataset, DatasetSource
from ..planning.plan import Cell, Job, Plan
from ..records.provenance import current_provenance
from ..records.record import CellNames, CellSettings, Cost, ExternalCheckpoint, Identity, Record, WeightsSource
from ..records.typed_json import reader_of
from .encoder import Weights

NO_COST = {"pretrain_seconds": 0.0, "pretrain_views": 0, "pretrain_flops": 0}


def record_header(plan: Plan, job: Job, cell: Cell, device: torch.device, weights: Weights | None = None) -> Record:
    """A record with everything that is known before the protocol runs; without ``weights`` if pretraining failed."""
    metadata = weights.metadata if weights else {}
    plan = plan.with_encoder_of(job.external)
    request = plan.request
    return Record(
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
            dataset=dataset_settings(request.dataset, plan.source),
            pretrain_dataset=dataset_settings(request.pretrain_dataset or request.dataset, plan.pretrain_source),
            protocol=cell.settings,
        ),
        identity=Identity(
            dataset=plan.dataset_info.identity,
            pretrain_dataset=plan.pretrain_info.identity,
            recipe=job.recipe_hash,
        ),
        deviations=job.deviations,
        card={},
        source=weights_source(job, weights),
        cost=reader_of(Cost)(metadata.get("cost", NO_COST)),
        pretext=metadata.get("pretext", {}),
        provenance=current_provenance(device),
    )


def checkpoint_name(job: Job) -> str | None:
    """The name of a registered checkpoint or of the file that ``--checkpoint`` gives; None without either."""
    if job.external:
        return job.external.name
    return job.checkpoint.name if job.checkpoint else None


def weights_source(job: Job, weights: Weights | None) -> WeightsSource:
    """Where the encoder's weights came from, and where they were made."""
    file = weights.file if weights else None
    metadata = weights.metadata if weights else {}
    external = job.external.record_source | metadata.get("source", {}) if job.external else None
    return WeightsSource(
        kind=weights.kind if weights else "failed",
        file=file.name if file else None,
        sha256=content_hash(file) if file else None,
        # The weights may be older than the measurement, and made on another machine.
        **{name: metadata[name] for name in ("commit", "precision", "device") if name in metadata},
        checkpoint=ExternalCheckpoint(**external) if external else None,
    )


def dataset_settings(name: str, source: DatasetSource) -> dict[str, Any]:
    """A data set's plugin and settings, without its directory: the data's identity is recorded instead."""
    return {"source": name} | {key: value for key, value in asdict(source).items() if key != "data_dir"}


def split_sizes(dataset: Dataset) -> dict[str, Any]:
    """The part of a protocol card that depends on the data."""
    return {"train_images": len(dataset.train), "test_images": len(dataset.test), "classes": len(dataset.classes)}
