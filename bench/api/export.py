"""Encoders pretrained here as files for torchvision and timm, each with what was measured on it."""

from __future__ import annotations

from pathlib import Path

import torch

from ..checkpoints.export import export_encoder
from ..checkpoints.store import load_encoder
from ..planning.plan import Job, Plan
from ..records.comparable import newest_of_each_cell
from ..run.encoder import Weights, build_encoder
from .results import read_all_records


def export_weights(plan: Plan, job: Job, weights: Weights, out: Path) -> list[Path]:
    """Writes the encoder of a job, whose weights are in a file, and its model card into ``out``; their paths."""
    assert weights.file
    encoder = build_encoder(plan, job, torch.device("cpu"))
    metadata = load_encoder(weights.file, encoder)
    found, _ = newest_of_each_cell(read_all_records(plan.request.results)[0])
    measured = [record for record in found if record.identity.recipe == job.recipe_hash]
    unusual = plan.request.unusual_words("dataset", "pretrain_dataset", "encoder", "preset", "seeds")
    return list(
        export_encoder(
            encoder,
            plan.request.encoder,
            plan.encoder_settings,
            plan.pretrain_info.image_size,
            metadata,
            measured,
            out,
            unusual,
        )
    )
