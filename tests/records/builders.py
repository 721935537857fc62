"""Builders of records that tests of several files share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any

from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.record import (
    CellNames,
    CellSettings,
    Cost,
    Examples,
    ExternalCheckpoint,
    Identity,
    Mistake,
    Provenance,
    Record,
    WeightsSource,
    to_json,
)
from sslbench.bench.storage.hashing import fingerprint


def fraction(metric: str = "accuracy", **fields: Any) -> Measurement:
    """A measurement that is shown in percent."""
    return Measurement(metric=metric, unit="fraction", **fields)


def example_record(key: str = "0123456789abcdef", **changes: Any) -> Record:
    """A record with a value in every part; ``changes`` as for `changed_record`."""
    record = Record(
        key=key,
        cell=CellNames(
            method="rotnet",
            checkpoint=None,
            encoder="convnet",
            dataset="shapes",
            pretrain_dataset="shapes",
            protocol="linear",
            variant="",
            seed=0,
            preset="smoke",
        ),
        settings=CellSettings(method={"turns": 4}, recipe={"views": 12_000}),
        identity=Identity(dataset="aa", pretrain_dataset="aa", recipe="bb", weights="cc"),
        deviations={},
        card={"taps": ["conv4", "conv5"]},
        measurements=(
            fraction(tap="conv4", value=0.5, ci_low=0.4, ci_high=0.6, details={"strength": 0.1}),
            fraction(tap="conv5", value=0.25),
        ),
        source=WeightsSource(kind="bundled", file="rotnet.pt", sha256="dd"),
        cost=Cost(pretrain_seconds=2.5, pretrain_views=12_000, probe_seconds=0.1),
        pretext={"first_loss": 1.4, "last_loss": 0.7},
        provenance=Provenance(created="2026-01-01T00:00:00+00:00"),
    )
    return changed_record(record, **changes)


def accuracy_record(
    method: str,
    seed: int,
    conv4: float,
    conv5: float,
    *,
    kind: str = "bundled",
    head: str = "linear",
    views: int = 320_000,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """A record of accuracies at two taps, each with an interval of 2 percent to both sides; its key is a hash of it."""
    record = example_record(
        cell={"method": method, "seed": seed, "preset": "small"},
        settings={"method": settings or {}, "recipe": {"views": views, "seed": seed}},
        identity={"recipe": None, "weights": None},
        card={"taps": ["conv4", "conv5"], "head": head},
        measurements=tuple(
            fraction(tap=tap, value=value, ci_low=value - 0.02, ci_high=value + 0.02)
            for tap, value in (("conv4", conv4), ("conv5", conv5))
        ),
        source=WeightsSource(kind=kind),
        cost=Cost(),
        pretext={},
        provenance=Provenance(),
    )
    record = changed_record(record, **changes)
    content = to_json(record)
    return replace(record, key=fingerprint([content[part] for part in ("cell", "settings", "card")]))


def failed_record(method: str, seed: int, error: str, **changes: Any) -> Record:
    """A record of a cell that failed."""
    return accuracy_record(method, seed, 0, 0, status="failed", error=error, measurements=(), **changes)


def changed_record(record: Record, **changes: Any) -> Record:
    """The record with other parts; ``cell={"seed": 1}`` changes one field of a part and keeps the others."""
    parts = {
        name: replace(getattr(record, name), **change)
        if is_dataclass(getattr(record, name)) and isinstance(change, dict)
        else change
        for name, change in changes.items()
    }
    return replace(record, **parts)


def full_record() -> Record:
    """A record of an external checkpoint in which no part is empty."""
    checkpoint = ExternalCheckpoint(
        token="moco@v2",
        encoder="resnet50",
        encoder_settings={"channels": 1},
        published={"linear": {"conv4": 0.5}},
        input={"words": "224 pixels", "size": 224},
    )
    return example_record(
        settings={"encoder": {"width": 8}, "dataset": {"source": "synthetic"}, "protocol": {"taps": ["conv4"]}},
        deviations={"turns": 2},
        card={"taps": ["conv4", "conv5"], "train_images": 4, "test_images": 3, "classes": 3},
        mistakes={"conv4": (Mistake(image=0, label=1, predicted=2, confidence=0.4),)},
        classes=("cat", "dog"),
        source={"kind": "published", "checkpoint": checkpoint},
        pretext={"first_loss": 1.4, "spread": 0.01, "collapsed": True},
        provenance={"commit": "abc", "dirty": False, "versions": {"torch": "2"}, "device": "a processor"},
        pictures="pictures.webp",
        examples=Examples(
            file="examples.webp", side=64, titles=("query", "nearest"), captions=((), ("right", "wrong"))
        ),
    )


def damaged_versions(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Parsed JSON with, in turn, each of its values replaced by values of every other type."""
    for path in paths_in(content):
        for value in (None, "text", -1, 0.5, True, [], {}, [None], {"a": None}):
            yield replaced(content, path, value)


def paths_in(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside parsed JSON, of objects and lists too."""
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from paths_in(inner, (*path, name))


def replaced(part: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Parsed JSON with another value at a path."""
    if not path:
        return value
    copy = part.copy()
    copy[path[0]] = replaced(part[path[0]], path[1:], value)
    return copy
