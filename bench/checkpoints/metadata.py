"""What sslbench writes about weights into the header of their file, and the check of it on reading.

The metadata are copied into records, and a file may come from anywhere, so a value of another type, or one that JSON
cannot hold, is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records.record import Cost
from ..records.typed_json import reader_of

MAX_DEPTH = 4  # of lists and tables in the metadata


@dataclass(frozen=True)
class WeightsMetadata:
    """The names that sslbench writes, and the types of their values; all other names are left out on reading."""

    method: str | None = None
    settings: Mapping[str, Any] | None = None
    encoder: str | None = None
    recipe: Mapping[str, Any] | None = None
    recipe_hash: str | None = None
    dataset: str | None = None
    identity: str | None = None
    precision: str | None = None
    commit: str | None = None
    device: str | None = None
    pretext: Mapping[str, float | None] | None = None
    cost: Cost | None = None
    weights: str | None = None  # hash of the encoder's weights, in a file of heads
    crc32: int | None = None  # of the tensors' values
    taught_steps: int | None = None  # in a file of heads that were trained on a frozen encoder


def parse_metadata(path: Path, text: str) -> dict[str, Any]:
    """The metadata in a header; NaN becomes None. Raises UserError if they are not what sslbench writes."""
    try:
        metadata = json.loads(text, parse_constant=lambda _: None)
        reader_of(WeightsMetadata)(metadata)
    except RecursionError:
        reason = "too many nested lists"
    except ValueError as error:
        reason = ascii(str(error))[1:-1].replace("\\'", "'")[:100]
    else:
        known = {field.name: metadata[field.name] for field in fields(WeightsMetadata) if field.name in metadata}
        if is_plain(known):
            return known
        reason = "a number or text that records cannot hold"
    raise UserError(f"{path}: the metadata in its header are not those of sslbench ({reason}); write the file again.")


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value consists of finite numbers, texts that UTF-8 can encode, lists and tables, not too deep."""
    if isinstance(value, dict | list):
        parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
        return depth < MAX_DEPTH and all(is_plain(part, depth + 1) for part in parts)
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value is None or abs(value) <= math.ldexp(1.0, 1000)  # also refuses integers that no float can hold
