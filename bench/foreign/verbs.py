"""The verbs that deal with weights alone."""

from __future__ import annotations

import sys
from collections.abc import Generator

from bench import plugins
from bench.arguments import Parser
from bench.errors import UserError
from bench.foreign.catalogue import Absent, Checkpoint
from bench.foreign.tokens import published
from bench.foreign.weights import fetched
from bench.progress import Progress, followed


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


def bytes_of(found: Checkpoint) -> Generator[Progress, None, None]:
    """The download as something that a bar can follow."""
    for done, total in fetched(found):
        yield Progress(title=f"{found.token}: bytes", done=done, total=total or done)
