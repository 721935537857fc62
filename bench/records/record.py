"""The parts of a record: everything that is known about one measured cell.

A cell is one protocol asked of one encoder. Its record holds the measured values and all that is needed to measure
them again. In JSON (see `store`) each key has the name of its field here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from ..statistics import wilson_interval
from .measurement import Measurement, unit_by_name
from .typed_json import NOT_STORED, reader_of, stored_fields

SCHEMA = 2
"""The version of the JSON that is written. Version 1 is read too."""

Values = Mapping[str, Any]  # settings by name, or anything else whose names plugins decide


@dataclass(frozen=True, kw_only=True)
class CellNames:
    """The names that tell a reader which cell this is; the settings say the rest."""

    method: str
    checkpoint: str | None  # the name of the weights that were given, if any
    encoder: str
    dataset: str
    pretrain_dataset: str | None
    protocol: str
    variant: str  # of an ablation, "" elsewhere
    seed: int
    preset: str | None  # None for a checkpoint that was trained elsewhere


@dataclass(frozen=True, kw_only=True)
class CellSettings:
    """Every setting of every plugin that took part."""

    method: Values = field(default_factory=dict)
    encoder: Values = field(default_factory=dict)
    recipe: Values = field(default_factory=dict)
    unvaried_recipe: Values = field(default_factory=dict)  # of an ablation: what its variants change, as it was before
    dataset: Values = field(default_factory=dict)
    pretrain_dataset: Values = field(default_factory=dict)
    protocol: Values = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Hashes of what was measured and of what it was measured on."""

    dataset: str | None = None
    pretrain_dataset: str | None = None
    recipe: str | None = None
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExternalCheckpoint:
    """Weights that were trained elsewhere and come with an encoder of their own."""

    token: str  # its name on the command line
    encoder: str = ""
    encoder_settings: Values = field(default_factory=dict)  # those that are not the encoder's defaults
    url: str = ""
    licence: str = ""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # protocol -> tap -> fraction
    published_in: str = ""
    input: Values = field(default_factory=dict)  # how it expects images; ``words`` say it in one line
    layout: Values = field(default_factory=dict)  # how its file names the tensors
    reading: Values = field(default_factory=dict)  # ``pooling`` of its own, in place of the protocol's ``default``


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where the weights came from. They may be older than the measurement, and made on another machine."""

    kind: str  # "untrained", "file", "cached", "bundled", "pretrained", "published" or "failed"
    file: str | None = None
    sha256: str | None = None
    commit: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: int | None = None  # of the processor; the sums of other numbers of threads differ in the last digits
    needs: tuple[str, ...] | None = (
        None  # what a method here learned from in addition to images; None if trained elsewhere
    )
    checkpoint: ExternalCheckpoint | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What pretraining, feature extraction and probing took; None where it was not recorded."""

    pretrain_seconds: float | None = None
    pretrain_views: int | None = None
    pretrain_flops: float | None = None
    encoder_parameters: int | None = None
    extract_seconds: float | None = None
    extract_flops: float | None = None
    probe_seconds: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The code and the machine that measured."""

    commit: str | None = None
    dirty: bool | None = None  # whether files differed from the commit
    versions: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None  # of the processor
    created: str = ""  # ISO 8601, so that the order of the text is the order in time


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One test image that a classifier got wrong."""

    image: int  # its index in the test split
    label: int
    predicted: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a protocol asked about a few test images, and what the encoder answered: a grid of small pictures."""

    file: str  # name of a WebP next to the record: a row per image, a column per title
    side: int  # pixels of each picture
    titles: tuple[str, ...]  # of the columns
    captions: tuple[tuple[str, ...], ...]  # of each column: a text per row, or none


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell and what was measured of it."""

    key: str  # 16 hex digits: a hash of everything that can change the result
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    traceback: tuple[str, ...] | None = None  # where the error passed through a plugin's code, the innermost place last
    cell: CellNames
    settings: CellSettings
    identity: Identity
    deviations: Values  # settings of the method that are not its paper's
    card: Values  # what a result of the protocol means; empty where the cell failed before the protocol ran
    measurements: tuple[Measurement, ...] = ()
    mistakes: Mapping[str, tuple[Mistake, ...]] | None = None  # by tap, the most confident first
    classes: tuple[str, ...] | None = None  # names of the first classes
    source: WeightsSource
    cost: Cost
    pretext: Mapping[str, float | None]  # the method's own training: losses and what it logged
    provenance: Provenance
    predictions: str | None = None  # name of the file next to the record, see `predictions`
    pictures: str | None = None  # the same of the pictures of its mistakes
    examples: Examples | None = None
    folder: Path | None = field(default=None, compare=False, metadata=NOT_STORED)  # where it was read

    @property
    def failed(self) -> bool:
        """Whether pretraining or the protocol failed."""
        return self.status == "failed"

    @property
    def is_external(self) -> bool:
        """Whether its weights came with an encoder of their own."""
        return self.source.checkpoint is not None

    @property
    def undertrained(self) -> bool:
        """Whether the budget ended before the encoder got its first gradient."""
        return bool(self.pretext.get("undertrained"))

    @property
    def collapsed(self) -> bool:
        """Whether pretraining ended with nearly the same embedding for all images."""
        return bool(self.pretext.get("collapsed"))

    def measurement(self, tap: str, metric: str) -> Measurement | None:
        """The measured value of a metric at a tap."""
        return next((m for m in self.measurements if (m.tap, m.metric) == (tap, metric)), None)

    def card_count(self, name: str) -> int:
        """A number of images or classes on the protocol's card; 0 where it is not there."""
        value = self.card.get(name)
        return value if isinstance(value, int) else 0

    def path_of(self, name: str | None) -> Path | None:
        """The path of `predictions`, `pictures` or the file of `examples`; None where the record has no such file.

        Raises UserError for a link, which could lead out of the folder.
        """
        path = (self.folder or Path()) / name if name else None
        if path and path.is_symlink():
            raise UserError(f"{path}: is a link, and a record's files must be in its own folder; copy the file there.")
        return path


def to_json(record: Record) -> dict[str, Any]:
    """A record as JSON can hold it."""
    return {"schema": SCHEMA, **_plain(record)}


def from_json(content: Any, folder: Path | None = None) -> Record:
    """The record in parsed JSON of any known schema; raises ValueError with the reason if it is none."""
    if not isinstance(content, dict) or "schema" not in content:
        raise ValueError("not a record of this benchmark")
    if content["schema"] not in (1, SCHEMA):
        raise ValueError(f"schema {content['schema']!r}, this version reads 1 and {SCHEMA}")
    content = _from_schema_1(content) if content["schema"] == 1 else content
    record: Record = reader_of(Record)(_with_units(content))
    if not re.fullmatch(r"[0-9a-f]{16}", record.key):
        raise ValueError("key is not 16 hex digits")
    examples_file = record.examples.file if record.examples else None
    for name in filter(None, (record.predictions, record.pictures, examples_file)):
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ValueError(f"{name[:40]!r} is not the name of a file next to the record")
    return without_foreign_budget(replace(record, folder=folder))


def without_foreign_budget(record: Record) -> Record:
    """The record; that of an external checkpoint without preset, budget and pretraining data, which are not its own."""
    if not record.is_external:
        return record
    settings = record.settings
    recipe = {name: settings.recipe[name] for name in ("seed", "precision") if name in settings.recipe}
    return replace(
        record,
        cell=replace(record.cell, preset=None, pretrain_dataset=None),
        settings=replace(settings, recipe=recipe, unvaried_recipe={}, pretrain_dataset={}),
        identity=replace(record.identity, pretrain_dataset=None),
    )


def _from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """The JSON with the names of schema 2; damaged parts stay as they are."""
    content = _rename_keys(content, metrics="measurements")
    content["settings"] = _rename_keys(content.get("settings"), common="unvaried_recipe")
    if isinstance(content.get("measurements"), list):
        card = content.get("card")
        images = card.get("test_images") if isinstance(card, dict) else None
        renamed = [_rename_keys(m, low="ci_low", high="ci_high") for m in content["measurements"]]
        content["measurements"] = [_with_wilson_interval(m, images) for m in renamed]
    source = content.get("source")
    if isinstance(source, dict) and "token" in source:
        content["source"] = source | {"checkpoint": source}
    return content


def _with_wilson_interval(measurement: Any, images: Any) -> Any:
    """The measurement, its interval by Wilson's method if it is an accuracy; earlier versions used the bootstrap."""
    if not isinstance(measurement, dict) or not str(measurement.get("metric")).startswith("accuracy"):
        return measurement
    value = measurement.get("value")
    if type(images) is not int or images < 1 or not isinstance(value, float) or not 0 <= value <= 1:
        return measurement
    right = round(value * images)
    if abs(right - value * images) > 1e-6 * images:
        return measurement
    low, high = wilson_interval(right, images)
    return measurement | {"ci_low": float(low), "ci_high": float(high)}


def _with_units(content: dict[str, Any]) -> dict[str, Any]:
    """The JSON with unit and chance level in each measurement; earlier versions went by the metric's name."""
    found, card = content.get("measurements"), content.get("card")
    if not isinstance(found, list):
        return content
    classes = card.get("classes") if isinstance(card, dict) else None
    guessing = 1 / classes if type(classes) is int and classes > 0 else None
    return content | {"measurements": [_with_unit(measurement, guessing) for measurement in found]}


def _with_unit(measurement: Any, guessing: float | None) -> Any:
    """The measurement with a unit and, if it is an accuracy, the share of ``guessing`` that is right."""
    if not isinstance(measurement, dict) or "unit" in measurement:
        return measurement
    unit = unit_by_name(str(measurement.get("metric")))
    return {"unit": unit, "chance": guessing if unit else None} | measurement


def _rename_keys(part: Any, **names: str) -> Any:
    """A copy of a part with other names for some of its keys."""
    return {names.get(key, key): value for key, value in part.items()} if isinstance(part, dict) else part


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: NumPy scalars unwrapped, paths as text, NaN and infinities as null."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in stored_fields(value)}
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
    return str(value) if isinstance(value, Path) else value
