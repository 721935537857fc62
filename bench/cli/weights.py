"""The commands ``fetch`` and ``export``, which handle weights and measure nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints.fetch import fetch_checkpoint
from ..checkpoints.registry import Checkpoint, CheckpointUnavailable
from ..checkpoints.resolve import find_registered
from ..errors import UserError
from ..plugins.discovery import find_plugins
from ..progress import Progress, show_progress
from .options import Parser, add_plugin_option, build_parser, path_of, request_from

if TYPE_CHECKING:
    from ..planning.plan import Job, Plan
    from ..run.encoder import Weights


def fetch_command(words: list[str]) -> int:
    """Downloads registered checkpoints; names those that fail, and downloads the others all the same."""
    parser = Parser("fetch", description="Downloads checkpoints before a run needs them.")
    parser.add_argument("names", nargs="+", metavar="METHOD@NAME", help="see `list checkpoints`; all@published: all")
    add_plugin_option(parser)
    options = parser.parse_args(words)
    known = find_plugins("method", tuple(options.plugin))
    if wrong := [name for name in options.names if "@" not in name]:
        raise UserError(f"fetch {wrong[0]}: name checkpoints, such as moco@v2_800ep; `list checkpoints` shows them.")
    failed = 0
    for checkpoint in {one.token: one for name in options.names for one in find_registered(name, known)}.values():
        try:
            for _ in show_progress(download_progress(checkpoint)):
                pass
            print(f"{checkpoint.token}  {checkpoint.file}")
        except CheckpointUnavailable as error:
            failed += 1
            print(f"failed: {error}", file=sys.stderr)
    return 1 if failed else 0


def download_progress(checkpoint: Checkpoint) -> Generator[Progress, None, None]:
    """Downloads a checkpoint, and yields the progress that a bar shows."""
    for done, total in fetch_checkpoint(checkpoint):
        yield Progress(title=f"{checkpoint.token}: bytes", done=done, total=total or done)


def export_command(words: list[str]) -> int:
    """Writes encoders in torchvision's or timm's format, each with a model card; pretrains those that are missing."""
    parser = build_parser("export")
    parser.add_argument(
        "--out", type=path_of, default=Path("exported"), metavar="DIR", help="where the files go (default exported/)"
    )
    options = parser.parse_args(words)
    from ..planning.build import build_plan

    plan = build_plan(request_from(options))
    if not any(job.trains for job in plan.jobs):
        raise UserError("export: none of these is pretrained here; name a method, such as --methods rotnet.")
    if options.dry_run:
        from .dry_run import forecast

        print(forecast(plan))
        return 0
    from ..run import runner

    failed = 0
    for event in show_progress(runner.pretrain_encoders(plan)):
        if isinstance(event, Progress):
            continue
        job, weights = event
        if weights.kind == "failed":
            failed += 1
            print(f"failed: {job.method.name}: {weights.metadata['error']}", file=sys.stderr)
        else:
            export_job(plan, job, weights, options)
    return 1 if failed else 0


def export_job(plan: Plan, job: Job, weights: Weights, options: argparse.Namespace) -> None:
    """Exports one job's encoder with all that was measured on it, and prints the names of the files."""
    import torch

    from ..checkpoints.export import export_encoder
    from ..checkpoints.store import load_encoder
    from ..records.comparable import newest_of_each_cell
    from ..run.encoder import build_encoder
    from .report import read_all_records

    assert weights.file
    encoder = build_encoder(plan, job, torch.device("cpu"))
    metadata = load_encoder(weights.file, encoder)
    found, _ = newest_of_each_cell(read_all_records(options.results)[0])
    measured = [record for record in found if record.identity.recipe == job.recipe_hash]
    size = plan.pretrain_info.image_size
    settings = plan.encoder_settings
    unusual = plan.request.unusual_words("dataset", "pretrain_dataset", "encoder", "preset", "seeds")
    for file in export_encoder(encoder, plan.request.encoder, settings, size, metadata, measured, options.out, unusual):
        print(f"{job.method.name}  {file}")
