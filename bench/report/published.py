"""Numbers from papers: facts with a source, shown beside ours and never ranked with them.

One CSV per protocol, accuracies as fractions. A setting is a data set, an encoder and
a way of probing; a table shows the numbers of one setting only.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"

NEEDED = ("method", "label", "dataset", "encoder", "protocol", "metric", "value", "source", "reference")
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
    "second_hand",  # which reprint it was read from; empty if from the source itself
)


@dataclass(frozen=True)
class Beside:
    """Published numbers of one setting, to be shown beside measured ones."""

    values: dict[tuple[str, str, str], float]  # (method, variant, tap) -> fraction
    setting: str  # "ImageNet-1k, AlexNet, non-linear classifier"
    sources: tuple[str, ...]


def published(protocol: str, folder: Path = FOLDER) -> DataFrame:
    """The published numbers for a protocol's tables, a row each; without rows where there are none."""
    import pandas as pd

    return pd.DataFrame(_rows(protocol, folder), columns=list(COLUMNS))


def beside(
    protocol: str, methods: Collection[str], taps: Sequence[str], metric: str, folder: Path = FOLDER
) -> Beside | None:
    """The setting that covers most of the taps for these methods, the first in the file among equals."""
    rows = [row for row in _rows(protocol, folder) if row["method"] in methods and row["metric"] == metric]
    here = [row for row in rows if row["tap"] in taps]
    if not here and len(taps) == 1:  # an ablation was published for a tap of its own: its setting says which
        away = [row for row in rows if row["setting"] and row["tap"]]
        here = [row | {"protocol": f"{row['protocol']} at {row['tap']}", "tap": taps[0]} for row in away]
    settings: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in here:
        settings.setdefault((row["dataset"], row["encoder"], row["protocol"]), []).append(row)
    if not settings:
        return None
    chosen = max(settings, key=lambda setting: len({row["tap"] for row in settings[setting]}))
    return Beside(
        values={(row["method"], row["setting"], row["tap"]): row["value"] for row in settings[chosen]},
        setting=", ".join(chosen),
        sources=tuple(dict.fromkeys(_source(row) for row in settings[chosen])),
    )


def cited(rows: DataFrame) -> Beside | None:
    """The settings and sources of published rows that a protocol shows in its own way."""
    facts: list[dict[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]
    taps: dict[str, dict[str, None]] = {}  # dictionaries keep the order of the rows
    for row in facts:
        taps.setdefault(", ".join((row["dataset"], row["encoder"], row["protocol"])), {})[row["tap"]] = None
    settings = (f"{setting} at {', '.join(at)}" if any(at) else setting for setting, at in taps.items())
    return Beside({}, "; ".join(settings), tuple(dict.fromkeys(map(_source, facts)))) if facts else None


def _rows(protocol: str, folder: Path) -> list[dict[str, Any]]:
    """A file's rows, each of them checked; none without a file. Raises UserError where not even the folder is there."""
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
            if why := _complaint(row):
                raise UserError(f"{path}, line {reader.line_num}: {why}")
            rows.append({name: row[name] or "" for name in COLUMNS} | {"value": float(row["value"])})
    return rows


def _source(row: dict[str, Any]) -> str:
    """Where a number was printed, and by way of what it came to us."""
    by_way = f", second-hand ({row['second_hand']})" if row["second_hand"] else ""
    return f"{row['source']}, {row['reference']}{by_way}"


def _complaint(row: dict[str, str | None]) -> str | None:
    """What keeps a row out of a table, or ``None``."""
    if missing := [name for name in NEEDED if not (row[name] or "").strip()]:
        return f"{', '.join(missing)} is empty. A published number needs its source and where to read it."
    if not str(row["reference"]).startswith(("https://", "http://")):
        return f"reference {row['reference']!r} is no web address."
    try:
        value = float(str(row["value"]))
    except ValueError:
        return f"value {row['value']!r} is not a number."
    if "accuracy" in str(row["metric"]) and not 0 <= value <= 1:
        return f"value {value:g} is not a fraction: divide percentages by 100."
    return None
