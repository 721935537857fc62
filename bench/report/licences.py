"""Fills the generated tables of LICENSES.md: ``python -m sslbench.bench.report.licences [--check]``.

The text between ``<!-- made from NAME -->`` and ``<!-- end -->`` is replaced by the table of that name.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from urllib.parse import urlparse

from tabulate import tabulate

from ..checkpoints.registry import registered_checkpoints
from ..checkpoints.store import read_manifest
from ..plugins.discovery import ROOT, find_plugins
from .published import FOLDER, read_rows

FILE = ROOT / "LICENSES.md"
PART = re.compile(r"(<!-- made from (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_STATED = "not stated"


def published_numbers() -> str:
    """A row for each file of published numbers and each source that it cites."""
    counts: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for path in sorted(FOLDER.glob("*.csv")):
        for row in read_rows(path.stem, FOLDER):
            counts[path.name, row["source"], row["reference"], row["second_hand"] or "the source itself"] += 1
    rows = [[file, count, source, reference, reprint] for (file, source, reference, reprint), count in counts.items()]
    return markdown_table(["file", "numbers", "source", "reference", "read in"], rows)


def bundled_encoders() -> str:
    """A row for each data set and encoder with which bundled weights were trained."""
    methods: dict[tuple[str, str], list[str]] = defaultdict(list)
    for metadata in read_manifest().values():
        methods[metadata["dataset"], metadata["encoder"]].append(metadata["method"])
    rows = [[dataset, encoder, ", ".join(sorted(names))] for (dataset, encoder), names in methods.items()]
    return markdown_table(["trained on", "encoder", "methods"], rows)


def registered_weights() -> str:
    """A row for each method, licence and source of the registered checkpoints."""
    names: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for checkpoint in registered_checkpoints(find_plugins("method").values()):
        host = urlparse(checkpoint.url).netloc or checkpoint.url
        key = (checkpoint.method, checkpoint.licence or NOT_STATED, host, checkpoint.source or "-")
        names[key].append(str(checkpoint.name))
    rows = [[method, ", ".join(found), *rest] for (method, *rest), found in names.items()]
    return markdown_table(["method", "checkpoints", "licence", "downloaded from", "source"], rows)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below a head as a Markdown table."""
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


TABLES: dict[str, Callable[[], str]] = {
    "published_numbers": published_numbers,
    "bundled_encoders": bundled_encoders,
    "registered_weights": registered_weights,
}


def fill_tables(text: str) -> str:
    """The text with each table made from the present files."""
    return PART.sub(lambda part: f"{part[1]}{TABLES[part['name']]()}\n{part[3]}", text)


def main() -> int:
    """Renews LICENSES.md; with ``--check`` only says whether it is out of date, and then returns 1."""
    text = FILE.read_text(encoding="utf-8")
    if (filled := fill_tables(text)) == text:
        return 0
    if "--check" in sys.argv:
        print(f"{FILE.name} is out of date; `make report` updates it.", file=sys.stderr)
        return 1
    FILE.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
