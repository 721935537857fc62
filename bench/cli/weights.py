"""The verbs that deal with weights alone."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

from ..checkpoints.fetch import fetched
from ..checkpoints.registry import Absent, Checkpoint
from ..checkpoints.resolve import published
from ..errors import UserError
from ..plugins import discovery as plugins
from ..progress import Progress, followed
from .options import Parser, parser, request_of


def fetch(words: list[str]) -> int:
    """Downloads checkpoints ahead; what cannot be had is told, and the others are fetched all the same."""
    made = Parser(prog="run_bench.py fetch", description="Downloads checkpoints ahead of a run.", allow_abbrev=False)
    made.add_argument("names", nargs="+", metavar="METHOD@NAME", help="see `list checkpoints`; all@published is all")
    made.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a method in a file of your own")
    options = made.parse_args(words)
    known = plugins.plugins("method", tuple(options.plugin))
    if wrong := [name for name in options.names if "@" not in name]:
        raise UserError(f"fetch {wrong[0]}: name checkpoints, such as moco@v2_800ep; `list checkpoints` shows them.")
    failed = 0
    for found in {one.token: one for name in options.names for one in published(name, known)}.values():
        try:
            for _ in followed(bytes_of(found)):
                pass
            print(f"{found.token}  {found.file}")
        except Absent as error:
            failed += 1
            print(f"failed: {error}", file=sys.stderr)
    return 1 if failed else 0


def export(words: list[str]) -> int:
    """Writes encoders as torchvision or timm would, each with a model card; pretrains what is not there yet."""
    made = parser("export")
    made.add_argument(
        "--out", type=Path, default=Path("exported"), metavar="DIR", help="where the files go (default exported/)"
    )
    options = made.parse_args(words)
    from ..planning.build import plan

    planned = plan(request_of(options))
    if not any(job.trains for job in planned.jobs):
        raise UserError("export: nothing here is pretrained by us; name a method, such as --methods rotnet.")
    from .dry_run import forecast
    from .report import gathered

    if options.dry_run:
        print(forecast(planned))
        return 0
    import torch

    from ..checkpoints import store as checkpoints
    from ..checkpoints.export import exported
    from ..run import runner
    from ..run.encoder import built_encoder

    failed = 0
    for event in followed(runner.pretrained(planned)):
        if isinstance(event, Progress):
            continue
        job, weights = event
        if weights.kind == "failed" or weights.file is None:
            failed += 1
            print(f"failed: {job.method.name}: {weights.facts.get('error')}", file=sys.stderr)
            continue
        encoder = built_encoder(planned, job, torch.device("cpu"))
        facts = checkpoints.load(weights.file, encoder)
        measured = [one for one in gathered(options.results)[0] if one["identity"].get("recipe") == job.recipe_hash]
        size = planned.pretrain_facts.image_size
        for file in exported(encoder, planned.request.encoder, size, facts, measured, options.out):
            print(f"{job.method.name}  {file}")
    return 1 if failed else 0


def bytes_of(found: Checkpoint) -> Generator[Progress, None, None]:
    """The download as something that a bar can follow."""
    for done, total in fetched(found):
        yield Progress(title=f"{found.token}: bytes", done=done, total=total or done)
