"""The entries of the files ``methods/NAME.toml``, which register checkpoints: their keys, and checks of values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from ..errors import UserError, did_you_mean
from ..images.input_spec import CHANNELS, InputSpec
from ..plugins.ranges import Pooling

KEYS: dict[str, tuple[type, ...]] = {
    "url": (str,),  # https://..., hf:OWNER/REPOSITORY/FILE, or ZOO:REST with one of `MODEL_ZOOS` of registry.py
    "sha256": (str,),  # of the file
    "encoder": (str,),  # as in --encoder; resnet50 if absent
    "settings": (dict,),  # of the encoder, those that differ from its defaults
    "input": (dict,),  # fields of InputSpec, those that differ from its defaults
    "licence": (str,),  # of the weights; the licence of the zoo if absent
    "source": (str,),  # page with the published numbers; the page of the zoo if absent
    "linear": (float, dict),  # published accuracy of the linear protocol, a fraction: of conv5, or of each tap
    "knn": (float, dict),  # the same of the knn protocol
    "reading": (str, dict),  # what these numbers were measured on, for all protocols or each: a value of `Pooling`
}
"""What a table of ``methods/NAME.toml`` may say of a checkpoint, and the types of each value."""


def check_entry(path: Path, name: str, entry: Any) -> None:
    """Raises UserError unless the entry is a table with a url, known keys and values of the right types."""
    if not isinstance(entry, dict) or "url" not in entry:
        raise UserError(f"{path}: {name!r} must be a table with a url; fix the file.")
    check_known(path, name, "key", entry, KEYS)
    for key, value in entry.items():
        if not isinstance(value, KEYS[key]):
            expected = " or ".join({str: "text", float: "a fraction", dict: "a table"}[kind] for kind in KEYS[key])
            raise UserError(f"{path}: [{name}] {key} must be {expected}, not {value!r}; fix the file.")
    inputs = entry.get("input", {})
    check_known(path, name, "input", inputs, [field.name for field in fields(InputSpec)])
    check_known(path, name, "colour", [str(inputs.get("colour", "rgb"))], CHANNELS)
    check_values(path, name, entry)


def check_known(path: Path, name: str, what: str, words: Iterable[str], known: Iterable[str]) -> None:
    """Raises UserError for the first word that is not a known one."""
    if unknown := sorted(set(words) - set(known)):
        raise UserError(f"{path}: [{name}] has the unknown {what} {unknown[0]!r}. {did_you_mean(unknown[0], known)}")


def check_values(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Raises UserError for a value of an entry that is out of range or, within a table, of the wrong type."""
    inputs = entry.get("input", {})
    channels = 1 if inputs.get("colour") == "lightness" else 3
    fractions = [value for key in ("linear", "knn") if key in entry for value in values_of(entry[key])]
    rules = {
        "input.size must be a whole number from 1 to 2048": is_between(inputs.get("size", 1), 1, 2048, int),
        "input.crop must be above 0 and at most 1": is_between(inputs.get("crop", 1.0), 1e-3, 1, int, float),
        "input.resampling must be bilinear or bicubic": inputs.get("resampling", "bilinear") in ("bilinear", "bicubic"),
        f"input.mean must be {channels} numbers": is_numbers(inputs.get("mean"), channels, -1e3),
        f"input.std must be {channels} numbers above 0": is_numbers(inputs.get("std"), channels, 1e-6),
        "linear and knn must be fractions from 0 to 1": all(is_between(one, 0, 1, int, float) for one in fractions),
        f"reading must be one of {', '.join(get_args(Pooling))}, or a table of linear and knn": (
            set(values_of(entry.get("reading", "mean"))) <= {*get_args(Pooling)}
            and (isinstance(entry.get("reading", ""), str) or set(entry["reading"]) <= {"linear", "knn"})
        ),
        "sha256 must be 64 hex digits": re.fullmatch("([0-9a-f]{64})?", entry.get("sha256", "")) is not None,
    }
    if broken := [rule for rule, holds in rules.items() if not holds]:
        raise UserError(f"{path}: [{name}] {broken[0]}; fix the file.")


def values_of(value: Any) -> list[Any]:
    """The values of a table, or the value itself as the only one."""
    return list(value.values()) if isinstance(value, dict) else [value]


def is_between(value: Any, low: float, high: float, *types: type) -> bool:
    """Whether a value is of one of the types and in a range; true and false are no numbers."""
    return isinstance(value, types) and not isinstance(value, bool) and bool(low <= value <= high)  # type: ignore[operator]


def is_numbers(values: Any, count: int, low: float) -> bool:
    """Whether a tuple has one number or so many, each at least ``low``; None stands for the defaults."""
    if values is None:
        return True
    return (
        isinstance(values, tuple)
        and len(values) in (1, count)
        and all(is_between(value, low, 1e3, int, float) for value in values)
    )
