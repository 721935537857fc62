"""Turns the JSON of pytest-benchmark into tables of ratios: ``python -m tests.benchmarks.table IN.json OUT.md``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tabulate import tabulate

from sslbench.bench.records.store import read_all
from sslbench.bench.report.frame import records_frame

SLOW_STEPS = {
    "mae": "its decoder is a second transformer, and sees all patches",
    "word2vec": "every patch of the batch is scored with every other, and a budget of views holds many small patches",
    "split_brain": "halves of the width cost less than a whole encoder, its views, targets and heads as much as ever",
}
"""Methods whose step takes over 30 % longer than the passes of their encoders, and why."""


def speed_tables(run: dict) -> str:
    """A Markdown table per group: median seconds, and the ratio to the first row of the group."""
    groups: dict[str, list[dict]] = {}
    for benchmark in run["benchmarks"]:
        groups.setdefault(benchmark["group"] or benchmark["name"], []).append(benchmark)
    machine = run["machine_info"]["cpu"]
    parts = [
        "# Speed",
        "Medians of one run; each ratio is to the first row of its group, so it holds on other machines too.",
        f"By `make bench` on {machine.get('brand_raw', 'an unnamed processor')}, {machine.get('count')} cores. "
        "What a machine cannot do (bf16) or lacks (another library) has no row.",
    ]
    steps = {group: rows for group, rows in groups.items() if group.startswith("step of ")}
    for group, rows in groups.items():
        if group in steps:
            continue
        first = rows[0]["stats"]["median"]
        lines = [
            [
                row["name"].removeprefix("test_"),
                f"{row['stats']['median']:.4g}",
                f"{row['stats']['median'] / first:.2f}",
            ]
            for row in rows
        ]
        parts.append(f"## {group}\n\n" + markdown_table(lines, ["", "seconds", "ratio"]))
    if steps:
        parts.append(
            "## A training step against the bare passes of its encoders on the same views\n\n"
            + markdown_table(
                [step_row(*rows) for rows in steps.values()], ["", "bare", "step", "ratio", "why more than 1.30"]
            )
        )
    return "\n\n".join(parts) + "\n"


def step_row(bare: dict, whole: dict) -> list[str]:
    """A method's row: seconds of the bare passes and of the step, their ratio, and the reason for a high ratio."""
    a, b = bare["stats"]["median"], whole["stats"]["median"]
    name = bare["group"].removeprefix("step of ")
    return [name, f"{a:.4g}", f"{b:.4g}", f"{b / a:.2f}", SLOW_STEPS.get(name, "") if b > 1.3 * a else ""]


def cost_table(folder: Path) -> str:
    """The highest cost among the records of a folder, per protocol."""
    rows = records_frame(read_all(folder / "records")[0]).query("status == 'ok'").drop_duplicates("key")
    rows["gigabytes"] = rows["peak_memory_bytes"] / 1e9
    rows["share"] = rows["probe_seconds"] / rows["pretrain_seconds"].where(rows["pretrain_seconds"] > 0)
    most = rows.groupby("protocol")[["gigabytes", "probe_seconds", "share"]].max()
    lines = [[name, f"{a:.1f}", f"{b:.0f}", "-" if c != c else f"{c:.2f}"] for name, a, b, c in most.itertuples()]
    head = f"## What the records of `{folder.as_posix()}` took, at most"
    return f"{head}\n\n" + markdown_table(
        lines, ["protocol", "GB of memory", "seconds of probing", "share of pretraining"]
    )


def markdown_table(lines: list[list[str]], headers: list[str]) -> str:
    """A Markdown table."""
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    text = speed_tables(json.loads(source.read_text(encoding="utf-8")))
    target.write_text(text + "\n" + cost_table(Path("results/cifar10-jpeg")) + "\n", encoding="utf-8")
