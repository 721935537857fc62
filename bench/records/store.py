"""Record files: one JSON file per cell, written whole or not at all.

The per-image predictions, the pictures of mistakes and those of examples are files of the same name next to it. With
one file per cell any number of writers can share a disk: nobody appends and nobody locks.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

from ..storage.atomic import atomic_write
from .predictions import Predictions
from .record import Record, from_json, to_json

EXAMPLES = ".examples.webp"  # how the name of a file of examples ends
LONGEST_NAME = 200  # bytes; file systems allow 255, of which an ending and the mark of an unfinished file need some


def write(
    folder: Path,
    record: Record,
    predictions: Predictions | None = None,
    pictures: bytes | None = None,
    examples: bytes | None = None,
) -> Path:
    """Store a record with its predictions and WebPs of its most confident mistakes and of its examples.

    Returns the record's path. A record with the same key is replaced. Raises ValueError for a record that could not be
    read again.
    """
    stem = file_stem(record)
    if record.examples:
        record = replace(record, examples=replace(record.examples, file=f"{stem}{EXAMPLES}") if examples else None)
    content = to_json(record) | {
        "predictions": f"{stem}.npz" if predictions else None,
        "pictures": f"{stem}.webp" if pictures else None,
    }
    from_json(content)
    # The record goes last, so that its other files exist as soon as it is seen.
    if predictions:
        atomic_write(folder / f"{stem}.npz", predictions.to_bytes())
    if pictures:
        atomic_write(folder / f"{stem}.webp", pictures)
    if examples and record.examples:
        atomic_write(folder / record.examples.file, examples)
    path = folder / f"{stem}.json"
    atomic_write(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return path


def read(path: Path) -> Record:
    """The record in a file; raises ValueError with the reason if there is none."""
    try:
        content = json.loads(path.read_bytes(), parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise ValueError(f"not whole JSON: {error}") from None
    except UnicodeDecodeError:
        raise ValueError("not text") from None
    return from_json(content, folder=Path(os.path.abspath(path.parent)))


def read_all(folder: Path) -> tuple[list[Record], list[tuple[Path, str]]]:
    """All records of a folder in the order of file names, and each file that is no record with the reason.

    Two files have the same key only after somebody renamed one: the newer record counts.
    """
    newest: dict[str, Record] = {}
    damaged = []
    for path in sorted(folder.glob("[!.]*.json"), key=str):
        try:
            record = read(path)
        except (ValueError, OSError) as error:
            damaged.append((path, str(error)))
            continue
        other = newest.get(record.key)
        if other is None or record.provenance.created > other.provenance.created:
            newest[record.key] = record
    return list(newest.values()), damaged


def find(folder: Path, key: str) -> Path | None:
    """The file of the record with a key, None if that cell was not measured, failed or is damaged."""
    for path in folder.glob(f"[!.]*-{key}.json"):
        try:
            if not read(path).failed:
                return path
        except (ValueError, OSError):
            continue
    return None


def file_stem(record: Record) -> str:
    """The name of a record's files without ending; unique, since it ends in the key."""
    cell = record.cell
    return file_name(cell.dataset, cell.encoder, cell.method, cell.protocol, f"s{cell.seed}", record.key)


def file_name(*names: str) -> str:
    """Names joined by dashes; any other sign that file systems may not like becomes an underscore.

    Of a long name the beginning and the last part are left, with a hash of the whole between them.
    """
    words = [re.sub(r"[^\w.]+", "_", name) for name in names]
    joined = re.sub(r"^\.", "_", "-".join(words))  # the name of a hidden file would begin with a dot
    if len(joined.encode()) <= LONGEST_NAME:
        return joined
    start = joined.encode()[: LONGEST_NAME - 50].decode(errors="ignore")
    return (
        f"{start}_{hashlib.sha256(joined.encode()).hexdigest()[:8]}-{words[-1].encode()[-40:].decode(errors='ignore')}"
    )


def _finite(text: str) -> float:
    """A JSON number; raises ValueError for infinities and NaN, which records do not hold."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a number that a record may hold")
    return number


def _whole(text: str) -> int:
    """A whole JSON number; raises ValueError for one that no calculation could use."""
    _finite(text)
    return int(text)
