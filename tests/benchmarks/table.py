"""pytest-benchmark's JSON as one table of ratios: ``python -m tests.benchmarks.table IN.json OUT.md``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tabulate import tabulate


def table(run: dict) -> str:
    """A Markdown table for each group: median seconds, and the ratio to the group's first row."""
    groups: dict[str, list[dict]] = {}
    for benchmark in run["benchmarks"]:
        groups.setdefault(benchmark["group"] or benchmark["name"], []).append(benchmark)
    machine = run["machine_info"]["cpu"]
    parts = [
        "# Speed",
        "Medians of one run; each ratio is to the first row of its group, so it holds on other machines too.",
        f"By `make bench` on {machine.get('brand_raw', 'an unnamed processor')}, {machine.get('count')} cores.",
    ]
    for group, rows in groups.items():
        first = rows[0]["stats"]["median"]
        lines = [
            [
                row["name"].removeprefix("test_"),
                f"{row['stats']['median']:.4g}",
                f"{row['stats']['median'] / first:.2f}",
            ]
            for row in rows
        ]
        parts.append(
            f"## {group}\n\n" + tabulate(lines, ["", "seconds", "ratio"], tablefmt="pipe", disable_numparse=True)
        )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(table(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
