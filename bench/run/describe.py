"""What a record says of its cell before the protocol is asked: the settings, the weights, the data and the machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ..data import Dataset, DatasetSource
from ..planning.plan import Cell, Job, Plan
from ..records import record as records
from ..records.provenance import provenance
from ..storage.hashing import file_hash
from .encoder import Weights


def described(plan: Plan, job: Job, cell: Cell, device: torch.device, weights: Weights | None = None) -> records.Record:
    """A record's every part that is known before the protocol is asked."""
    facts = weights.facts if weights else {}
    file = weights.file if weights else None
    brought = job.foreign.facts if job.foreign else {}
    plan = plan.with_encoder_of(job.foreign)
    return {
        "schema": records.SCHEMA,
        "key": cell.key,
        "status": "ok",
        "error": None,
        "cell": {
            "method": job.method.name,
            "checkpoint": job.foreign.name if job.foreign else job.checkpoint.name if job.checkpoint else None,
            "encoder": plan.request.encoder,
            "dataset": plan.facts.name,
            "pretrain_dataset": plan.pretrain_facts.name,
            "protocol": cell.protocol.name,
            "variant": cell.variant,
            "seed": job.recipe.seed,
            "preset": job.recipe.preset,
        },
        "settings": {
            "method": job.settings,
            "encoder": plan.encoder_settings,
            "recipe": asdict(job.recipe),
            "common": job.unvaried_recipe,
            "dataset": settings_of(plan.request.dataset, plan.source),
            "pretrain_dataset": settings_of(
                plan.request.pretrain_dataset or plan.request.dataset, plan.pretrain_source
            ),
            "protocol": cell.settings,
        },
        "identity": {
            "dataset": plan.facts.identity,
            "pretrain_dataset": plan.pretrain_facts.identity,
            "recipe": job.recipe_hash,
        },
        "deviations": job.deviations,
        "card": {},
        "metrics": [],
        "source": {
            "kind": weights.kind if weights else "failed",
            "file": file.name if file else None,
            "sha256": file_hash(file) if file else None,
            # The weights may be older than the measurement, and made elsewhere.
            **{name: facts[name] for name in ("commit", "precision", "device") if name in facts},
            **brought,
            **facts.get("source", {}),
        },
        "cost": facts.get("cost", {"pretrain_seconds": 0.0, "pretrain_views": 0, "pretrain_flops": 0}).copy(),
        "pretext": facts.get("pretext", {}),
        "provenance": provenance(device),
    }


def settings_of(name: str, source: DatasetSource) -> dict[str, Any]:
    """A data set's plugin and settings; where the data lie is none of them, since the identity says what they are."""
    return {"source": name} | {key: value for key, value in asdict(source).items() if key != "data_dir"}


def splits(dataset: Dataset) -> dict[str, Any]:
    """The part of a protocol card that the data decide."""
    return {"train_images": len(dataset.train), "test_images": len(dataset.test), "classes": len(dataset.classes)}
