"""Which records may be compared: the one definition that tables, overviews, comparisons and forecasts share.

Each function returns named values; two records are alike in that respect if the values are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ..storage.hashing import fingerprint
from .record import Record, Values

CEILING, FLOOR = "supervised", "random"
"""The method that is trained with labels, and the one that is not trained. Others are compared with them."""


def question(record: Record) -> dict[str, Any]:
    """What was asked of which images, whatever the encoder: the protocol with its settings, and the data."""
    return {
        "protocol": record.cell.protocol,
        "protocol settings": without_own_reading(record, record.settings.protocol),
        "dataset": record.cell.dataset,
        "data": record.identity.dataset,
        **targets_of(record),
    }


def conditions(record: Record) -> dict[str, Any]:
    """What must be equal to rank two records, whatever weights they are of."""
    return {
        "protocol": record.cell.protocol,
        "dataset": record.cell.dataset,
        "encoder": record.cell.encoder,
        "data": record.identity.dataset,
        **targets_of(record),
        "encoder settings": record.settings.encoder,
        "card": without_own_reading(record, record.card),
    }


def targets_of(record: Record) -> dict[str, Any]:
    """The digests of targets, such as masks, that the data's identity does not cover: only some protocols read them."""
    targets = record.settings.dataset.get("targets")
    return {"targets": targets} if targets else {}


def without_own_reading(record: Record, settings: Values) -> Values:
    """A record's protocol settings or card, with the protocol's pooling in place of an external checkpoint's own.

    Where its features are read belongs to a checkpoint as its encoder does; the question is the same.
    """
    reading = record.source.checkpoint.reading if record.source.checkpoint else {}
    if not reading or settings.get("pooling") != reading.get("pooling"):
        return settings
    default = {"pooling": reading["default"]} if reading.get("default") else {}
    return {name: value for name, value in settings.items() if name != "pooling"} | default


def planned_conditions(record: Record) -> dict[str, Any]:
    """Conditions that are known even if the run failed: the protocol's settings replace its card."""
    return conditions(record) | {"card": without_own_reading(record, record.settings.protocol)}


def budget(record: Record) -> dict[str, Any]:
    """What must be equal in addition to the conditions to rank weights that were pretrained here: data and recipe.

    A setting of the recipe that an ablation varies counts with its unvaried value, since it is what is compared.
    """
    recipe = {**record.settings.recipe, **record.settings.unvaried_recipe}
    return {
        "preset": record.cell.preset,
        "pretrain_dataset": record.cell.pretrain_dataset,
        "pretrain_data": record.identity.pretrain_dataset,
        **({"crop_margin": margin} if (margin := crop_margin(record)) > 1 else {}),
        **{name: value for name, value in recipe.items() if name != "seed"},
    }


def crop_margin(record: Record) -> float:
    """How many times as large as the views the pictures were, from which pretraining cut its crops."""
    return float(record.settings.pretrain_dataset.get("crop_margin", 1))


def has_no_budget(record: Record) -> bool:
    """Whether the weights owe nothing to a recipe here: they are untrained, from a file or external."""
    return record.source.kind in ("untrained", "file", "published") or record.is_external


def ranking_conditions(record: Record) -> dict[str, Any]:
    """Conditions and budget, setting by setting."""
    flat: dict[str, Any] = {}
    for name, value in (conditions(record) | budget(record)).items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat


def overview_conditions(record: Record) -> dict[str, Any]:
    """What must be equal to show two tables side by side: all but the question itself."""
    both = conditions(record) | budget(record)
    return {name: value for name, value in both.items() if name not in ("protocol", "card", "targets")}


def network(record: Record) -> dict[str, Any]:
    """The encoder as far as it decides how long a pass takes: its settings and the input it expects."""
    checkpoint = record.source.checkpoint
    return {
        "encoder": record.cell.encoder,
        "encoder settings": record.settings.encoder,
        "input": checkpoint.input if checkpoint else {},
    }


def obstacle(before: Record, after: Record) -> str:
    """Why two measurements of one cell must not be compared; "" if they may be."""
    for name, what in (("dataset", "test"), ("pretrain_dataset", "pretraining")):
        hashes = [str(getattr(record.identity, name)) for record in (before, after)]
        if hashes[0] != hashes[1]:
            return f"other {what} data: {' → '.join(digest[:12] for digest in hashes)}"
    if changed := changed_values(targets_of(before), targets_of(after)):
        return f"other {changed}"
    changed = changed_values(before.card, after.card)
    return f"other protocol card: {changed}" if changed else ""


def settings_by_name(record: Record) -> dict[str, Any]:
    """Every setting as ``part.name``, without the seed and the data: cells that agree in these are the same cell."""
    settings = record.settings
    parts = {
        "method": settings.method,
        "encoder": settings.encoder,
        "recipe": settings.recipe,
        "protocol": settings.protocol,
    }
    return {f"{part}.{name}": value for part, of in parts.items() for name, value in of.items() if name != "seed"}


def given_weights(record: Record) -> str | None:
    """The SHA-256 of a file of weights that the user or a registry gave; None for weights that were made here."""
    return record.source.sha256 if record.source.kind == "file" or record.is_external else None


def newest_of_each_cell(records: Iterable[Record]) -> tuple[list[Record], list[tuple[Record, Record]]]:
    """The records that count, in their order; and each one that a newer record of the same cell replaces, with that.

    A cell measured again by other code has another key, but the same names, settings, data and given weights. Of two
    records with the same or no time neither is newer, and both count.
    """
    records = list(records)
    newest: dict[str, Record] = {}
    cells = [
        fingerprint(
            [
                asdict(record.cell),
                settings_by_name(record),
                record.identity.dataset,
                targets_of(record),
                record.identity.pretrain_dataset,
                given_weights(record),
            ]
        )
        for record in records
    ]
    for record, cell in zip(records, cells, strict=True):
        if cell not in newest or record.provenance.created > newest[cell].provenance.created:
            newest[cell] = record
    counting, superseded = [], []
    for record, cell in zip(records, cells, strict=True):
        created, latest = record.provenance.created, newest[cell]
        if created and created < latest.provenance.created and record.key != latest.key:
            superseded.append((record, latest))
        else:
            counting.append(record)
    return counting, superseded


def changed_values(old: Values, new: Values) -> str:
    """Which values differ, and how."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return "; ".join(f"{name} {old.get(name)} → {new.get(name)}" for name in names)
