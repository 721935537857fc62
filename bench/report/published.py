"""Reference numbers from papers. Each has a source; they are shown next to measured ones and never ranked with them.

There is one CSV file per protocol, with accuracies as fractions. Papers measure on a data set, with an encoder and a
way of probing; a table shows numbers of one such setting only.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..statistics import rank_correlation

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"

REQUIRED = ("method", "label", "dataset", "encoder", "protocol", "metric", "value", "source", "reference")
COLUMNS = (
    "method",  # its name on the command line
    "label",  # as printed in the source
    "dataset",
    "encoder",
    "protocol",  # how the source probed
    "setting",  # what was varied between rows of one method; empty where nothing was
    "tap",  # empty where the whole network was trained
    "metric",
    "value",  # accuracies are fractions
    "source",
    "reference",  # where to read it
    "second_hand",  # the reprint that it was read from; empty if it was read in the source itself
)


@dataclass(frozen=True)
class ReferenceNumbers:
    """Published numbers that are shown next to measured ones."""

    values: dict[tuple[str, str, str], float]  # (method, variant, tap) -> fraction
    setting: str  # "ImageNet-1k, AlexNet, non-linear classifier"
    sources: tuple[str, ...]


def published_frame(protocol: str, folder: Path = FOLDER) -> DataFrame:
    """A row for each published number about a protocol; without rows if there are none."""
    import pandas as pd

    return pd.DataFrame(read_rows(protocol, folder), columns=list(COLUMNS))


def find_references(
    protocol: str, methods: Collection[str], taps: Sequence[str], metric: str, folder: Path = FOLDER
) -> ReferenceNumbers | None:
    """The numbers of the setting that covers most of the taps for these methods; of several the first in the file."""
    rows = [row for row in read_rows(protocol, folder) if row["method"] in methods and row["metric"] == metric]
    chosen = [row for row in rows if row["tap"] in taps]
    if not chosen and len(taps) == 1:  # an ablation was published for another tap: the setting says which
        elsewhere = [row for row in rows if row["setting"] and row["tap"]]
        chosen = [row | {"protocol": f"{row['protocol']} at {row['tap']}", "tap": taps[0]} for row in elsewhere]
    by_setting: dict[str, list[dict[str, Any]]] = {}
    for row in chosen:
        by_setting.setdefault(setting_of(row), []).append(row)
    if not by_setting:
        return None
    setting = max(by_setting, key=lambda name: len({row["tap"] for row in by_setting[name]}))
    return ReferenceNumbers(
        values={(row["method"], row["setting"], row["tap"]): row["value"] for row in by_setting[setting]},
        setting=setting,
        sources=tuple(dict.fromkeys(map(source_of, by_setting[setting]))),
    )


def references_in(rows: DataFrame) -> ReferenceNumbers | None:
    """Settings and sources of published rows that a protocol shows in its own way; None without rows."""
    found: list[dict[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]
    taps: dict[str, dict[str, None]] = {}  # dictionaries keep the order of the rows
    for row in found:
        taps.setdefault(setting_of(row), {})[row["tap"]] = None
    settings = (f"{setting} at {', '.join(at)}" if any(at) else setting for setting, at in taps.items())
    return ReferenceNumbers({}, "; ".join(settings), tuple(dict.fromkeys(map(source_of, found)))) if found else None


def read_rows(protocol: str, folder: Path) -> list[dict[str, Any]]:
    """The checked rows of a protocol's file; none without a file.

    Raises UserError for a wrong row, and if the whole folder is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: the published numbers are missing; restore the folder, or install sslbench again.")
    path = folder / f"{protocol}.csv"
    if not path.exists():
        return []
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise UserError(f"{path}: column {', '.join(missing)} is missing. Columns: {', '.join(COLUMNS)}.")
        for row in reader:
            if problem := problem_in(row):
                raise UserError(f"{path}, line {reader.line_num}: {problem}")
            rows.append({name: row[name] or "" for name in COLUMNS} | {"value": float(row["value"])})
    return rows


def setting_of(row: dict[str, Any]) -> str:
    """Data, encoder and way of probing of a published number."""
    return ", ".join((row["dataset"], row["encoder"], row["protocol"]))


def source_of(row: dict[str, Any]) -> str:
    """Where a number was printed, and the reprint that it was read from."""
    reprint = f", second-hand ({row['second_hand']})" if row["second_hand"] else ""
    return f"{row['source']}, {row['reference']}{reprint}"


def problem_in(row: dict[str, str | None]) -> str:
    """What is wrong with a row; "" if nothing is."""
    if missing := [name for name in REQUIRED if not (row[name] or "").strip()]:
        return f"{', '.join(missing)} is empty. A published number needs its source and where to read it."
    if not str(row["reference"]).startswith(("https://", "http://")):
        return f"reference {row['reference']!r} is no web address."
    try:
        value = float(str(row["value"]))
    except ValueError:
        return f"value {row['value']!r} is not a number."
    if not 0 <= value <= 1:
        return f"value {value:g} is not a fraction: divide percentages by 100."
    return ""


def rank_correlation_note(rows: DataFrame, taps: Sequence[str], published: ReferenceNumbers) -> list[str]:
    """How well the measured order agrees with the published one, at each tap with three or more methods in both."""
    parts = []
    for tap in taps:
        methods: Any = rows[(rows["tap"] == tap) & (rows["role"] == "") & rows["mean"].notna()].itertuples()
        pairs = [
            (row.mean, published.values[key])
            for row in methods
            if (key := (row.method, row.variant, row.tap)) in published.values
        ]
        if len(pairs) >= 3:
            parts.append(f"{tap} {rank_correlation(*zip(*pairs, strict=True)):.2f} ({len(pairs)} rows)")
    return [f"rank correlation (Spearman) of measured and published methods: {', '.join(parts)}"] if parts else []
