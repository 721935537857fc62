"""The commands ``fetch`` and ``export``, which handle weights and measure nothing."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Generator
from pathlib import Path

from ..api.request import path_of
from ..checkpoints.fetch import fetch_checkpoint
from ..checkpoints.registry import Checkpoint, CheckpointUnavailable
from ..checkpoints.resolve import find_registered
from ..errors import UserError
from ..plugins.discovery import find_plugins
from ..progress import Progress, log_output, show_progress
from .options import (
    Parser,
    add_output_options,
    add_plugin_option,
    build_parser,
    output_settings,
    request_from,
)

log = logging.getLogger(__name__)


def fetch_command(words: list[str]) -> int:
    """Downloads registered checkpoints; names those that fail, and downloads the others all the same."""
    parser = Parser("fetch", description="Downloads checkpoints before a run needs them.")
    parser.add_argument("names", nargs="+", metavar="METHOD@NAME", help="see `list checkpoints`; all@published: all")
    add_plugin_option(parser)
    add_output_options(parser)
    options = parser.parse_args(words)
    with log_output(**output_settings(options)):
        return fetch(options)


def fetch(options: argparse.Namespace) -> int:
    """Downloads the checkpoints that the options name, and prints their files."""
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
            log.error("failed: %s", error)
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
    with log_output(**output_settings(options)):
        return export(options)


def export(options: argparse.Namespace) -> int:
    """Exports the encoders that the options name."""
    from ..planning.build import build_plan

    plan = build_plan(request_from(options))
    if not any(job.trains for job in plan.jobs):
        raise UserError("export: none of these is pretrained here; name a method, such as --methods rotnet.")
    if options.dry_run:
        from ..api.forecast import forecast

        print(forecast(plan))
        return 0
    from ..api.export import export_weights
    from ..run import runner

    failed = 0
    for event in show_progress(runner.pretrain_encoders(plan)):
        if isinstance(event, Progress):
            continue
        job, weights = event
        if weights.kind == "failed":
            failed += 1
            log.error("failed: %s: %s", job.method.name, weights.metadata["error"])
        else:
            for file in export_weights(plan, job, weights, options.out):
                print(f"{job.method.name}  {file}")
    return 1 if failed else 0
