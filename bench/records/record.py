"""One cell, one JSON file, written whole or not at all.

A record holds one cell's numbers and all that is needed to measure them again; its
per-image predictions lie beside it as a compressed NumPy file. One file per cell makes
any number of writers on a shared disk safe: nobody appends, nobody locks.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..storage.atomic import atomic_write
from ..storage.hashing import fingerprint

if TYPE_CHECKING:
    from pandas import DataFrame

Record = dict[str, Any]

SCHEMA = 1

CELL = ("method", "checkpoint", "encoder", "dataset", "pretrain_dataset", "protocol", "variant", "seed", "preset")
"""What names a cell; the settings say the rest."""

COSTS = (
    "pretrain_seconds",
    "pretrain_views",
    "pretrain_flops",
    "extract_seconds",
    "extract_flops",
    "probe_seconds",
    "peak_memory_bytes",
)

PARTS: dict[str, type] = {
    "cell": dict,
    "settings": dict,
    "identity": dict,
    "deviations": dict,
    "card": dict,
    "metrics": list,
    "source": dict,
    "cost": dict,
    "pretext": dict,
    "provenance": dict,
}
"""The parts that every record has, whatever its status."""


def write(
    folder: Path,
    record: Record,
    predictions: Mapping[str, np.ndarray] | None = None,
    pictures: bytes | None = None,
) -> Path:
    """Stores a record, its predictions ``{tap: (N,), "labels": (N,)}`` and a WebP of its surest mistakes.

    They take the place of any with the same key.
    """
    plain = _plain(record)
    if why := _complaint(plain):
        raise ValueError(f"not a record: {why}")
    stem = file_stem(plain)
    plain["predictions"] = f"{stem}.npz" if predictions else None
    if predictions:
        # The record goes last: whoever finds it finds its predictions too.
        packed = BytesIO()
        arrays: dict[str, Any] = dict(predictions)
        np.savez_compressed(packed, **arrays)
        atomic_write(folder / f"{stem}.npz", packed.getvalue())
    plain["pictures"] = f"{stem}.webp" if pictures else None
    if pictures:
        atomic_write(folder / f"{stem}.webp", pictures)
    path = folder / f"{stem}.json"
    atomic_write(path, (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())
    return path


def read(path: Path) -> Record:
    """The record in a file; ``ValueError`` says why it is none."""
    try:
        record = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f"not whole JSON: {error}") from None
    except UnicodeDecodeError:
        raise ValueError("not text") from None
    if why := _complaint(record):
        raise ValueError(why)
    return record


def read_all(folder: Path) -> tuple[list[Record], list[tuple[Path, str]]]:
    """Every record of a folder, the newest of each key, in the order of file names; and the files that are none.

    What lies beside them is named by whole paths, so that records of several folders can be read together.
    """
    newest: dict[str, Record] = {}
    damaged = []
    home = os.path.abspath(folder)
    for path in sorted(folder.glob("[!.]*.json"), key=str):
        try:
            record = read(path)
        except (ValueError, OSError) as error:
            damaged.append((path, str(error)))
            continue
        for beside in ("predictions", "pictures"):
            if record[beside]:
                record[beside] = os.path.join(home, record[beside])
        # Two files share a key only after someone renamed one.
        other = newest.get(record["key"])
        if other is None or _created(record) > _created(other):
            newest[record["key"]] = record
    return list(newest.values()), damaged


def find(folder: Path, key: str) -> Path | None:
    """The record of a key if that cell is measured; failed and damaged ones are not."""
    for path in folder.glob(f"[!.]*-{key}.json"):
        try:
            if read(path)["status"] == "ok":
                return path
        except (ValueError, OSError):
            continue
    return None


def read_predictions(folder: Path, record: Record) -> dict[str, np.ndarray]:
    """A record's predictions on the test split, ``{tap: (N,), "labels": (N,)}``; empty if it has none."""
    if record.get("predictions") is None:
        return {}
    path = folder / record["predictions"]  # a whole path stays what it is
    try:
        with zipfile.ZipFile(path) as packed:
            return {name.removesuffix(".npy"): _array(packed.read(name)) for name in packed.namelist()}
    except Exception as error:  # numpy and zipfile raise a dozen kinds over a damaged file
        raise UserError(
            f"{path}: cannot be read as predictions ({error}). Delete it and its record, and run the cell again."
        ) from None


def _array(content: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file; `numpy.load` takes thrice as long over files as small as these."""
    begin = 10 + int.from_bytes(content[8:10], "little")
    shape, column_major, dtype = _layout(content[:begin])
    return np.frombuffer(content, dtype, offset=begin).reshape(shape, order="F" if column_major else "C")


@cache
def _layout(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type that a .npy file of version 1.0 begins with; ``ValueError`` where it is none."""
    file = BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a .npy file of version 1.0")
    shape, column_major, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("holds objects, not numbers")
    return shape, column_major, dtype


def frame(records: Iterable[Record]) -> DataFrame:
    """Tidy rows, one per record, tap and metric; a failed record is one row without tap, metric and value."""
    import pandas as pd

    rows = []
    for record in records:
        common = {
            "key": record["key"],
            "status": record["status"],
            "error": record["error"],
            **{name: record["cell"][name] for name in CELL},
            "card": fingerprint(record["card"]),
            "source": record["source"].get("kind"),
            **{name: record["cost"].get(name) for name in COSTS},
        }
        for number in record["metrics"] if record["status"] == "ok" else [{}]:
            rows.append(common | {name: number.get(name) for name in ("tap", "metric", "value", "low", "high")})
    columns = ["key", "status", "error", *CELL, "card", "source", *COSTS, "tap", "metric", "value", "low", "high"]
    numbers = dict.fromkeys((*COSTS, "value", "low", "high"), "float64")
    return pd.DataFrame(rows, columns=columns).astype(numbers)


def file_stem(record: Record) -> str:
    """A record's file name without its ending, readable, and unique by the key."""
    cell = record["cell"]
    names = (cell[part] for part in ("dataset", "encoder", "method", "protocol"))
    return joined(*names, f"s{cell['seed']}", record["key"])


def joined(*names: str) -> str:
    """Names -> one file name in which only the dashes divide."""
    return "-".join(re.sub(r"[^\w.]+", "_", str(name)) for name in names)


def _plain(value: Any) -> Any:
    """What JSON can hold: NumPy scalars unwrapped, tuples as lists, paths as text, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(part) for part in value)
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def _complaint(record: Any) -> str | None:
    """Why this is no record, or ``None`` if it is one."""
    if not isinstance(record, dict) or "schema" not in record:
        return "not a record of this benchmark"
    if record["schema"] != SCHEMA:
        return f"schema {record['schema']!r}, this version reads {SCHEMA}"
    if not re.fullmatch(r"[0-9a-f]{16}", str(record.get("key"))):
        return "key is not 16 hex digits"
    if record.get("status") not in ("ok", "failed"):
        return f"status {record.get('status')!r} is neither 'ok' nor 'failed'"
    if wrong := [name for name, kind in PARTS.items() if not isinstance(record.get(name), kind)]:
        return f"without {', '.join(wrong)}"
    if missing := [name for name in CELL if name not in record["cell"]]:
        return f"cell without {', '.join(missing)}"
    for number in record["metrics"]:
        if not (isinstance(number, dict) and {"tap", "metric", "value"} <= number.keys()):
            return "a metric without tap, metric or value"
        if any(not isinstance(number.get(name), int | float | None) for name in ("value", "low", "high")):
            return f"the value of {number['metric']!r} is not a number"
    for name in ("error", "predictions", "pictures"):
        if not isinstance(record.setdefault(name, None), str | None):
            return f"{name} is not text"
    return None


def _created(record: Record) -> str:
    """When it was measured, ISO 8601, so that text order is time order."""
    return str(record["provenance"].get("created", ""))
