"""Records of both schemas: what is read from the JSON of earlier versions."""

from __future__ import annotations

from typing import Any

import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store
from sslbench.bench.records.record import ExternalCheckpoint, from_json, to_json
from tests.records.builders import example_record

SCHEMA_1: dict[str, Any] = {
    "schema": 1,
    "key": "0123456789abcdef",
    "status": "ok",
    "error": None,
    "cell": {
        "method": "rotnet",
        "checkpoint": None,
        "encoder": "convnet",
        "dataset": "shapes",
        "pretrain_dataset": "shapes",
        "protocol": "linear",
        "variant": "",
        "seed": 0,
        "preset": "smoke",
    },
    "settings": {"method": {"turns": 4}, "encoder": {}, "recipe": {"views": 12_000}, "common": {"views": 9}},
    "identity": {"dataset": "aa", "pretrain_dataset": "aa", "recipe": "bb", "weights": "cc"},
    "deviations": {},
    "card": {"taps": ["conv4", "conv5"]},
    "metrics": [
        {"tap": "conv4", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "details": {"strength": 0.1}},
        {"tap": "conv5", "metric": "accuracy", "value": 0.25, "low": None, "high": None, "details": None},
    ],
    "predictions": None,
    "pictures": None,
    "source": {"kind": "bundled", "file": "rotnet.pt", "sha256": "dd"},
    "cost": {"pretrain_seconds": 2.5, "pretrain_views": 12_000, "probe_seconds": 0.1},
    "pretext": {"first_loss": 1.4, "last_loss": 0.7},
    "provenance": {"created": "2026-01-01T00:00:00+00:00"},
}


def test_schema_1_is_read() -> None:
    """Parts that have other names now are found under their old ones."""
    assert from_json(SCHEMA_1) == example_record(settings={"unvaried_recipe": {"views": 9}})


def test_an_external_checkpoint_of_schema_1_is_a_part_of_its_own() -> None:
    """What is known of it stood among the other facts about the weights."""
    source = {"kind": "published", "file": "r50.pth", "sha256": "ee"}
    checkpoint = {"token": "moco@v2", "encoder": "resnet50", "published": {"linear": {"conv5": 0.711}}, "input": {}}
    record = from_json(SCHEMA_1 | {"source": source | checkpoint})
    assert record.is_external
    assert (record.source.kind, record.source.file) == ("published", "r50.pth")
    assert record.source.checkpoint == ExternalCheckpoint(**checkpoint)
    assert from_json(to_json(record)) == record


@pytest.mark.parametrize("folder", sorted((ROOT / "results").glob("*/records")), ids=lambda folder: folder.parent.name)
def test_committed_records_keep_their_meaning(folder: Any) -> None:
    """Each of them is read, and the same after it was written again."""
    found, damaged = store.read_all(folder)
    assert found
    assert not damaged
    assert [from_json(to_json(record)) for record in found] == found


def leaves(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value in parsed JSON, of objects and lists too."""
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [path, *(found for name, inner in items for found in leaves(inner, (*path, name)))]


def damaged_copy(part: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Parsed JSON with another value at a path."""
    if not path:
        return value
    copy = part.copy()
    copy[path[0]] = damaged_copy(part[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("schema", [1, 2])
def test_damage_anywhere_is_a_reason_or_still_a_record(schema: int) -> None:
    """Whatever stands in place of a value, reading it raises ValueError or gives a record that can be written."""
    whole = SCHEMA_1 if schema == 1 else to_json(example_record())
    for path in leaves(whole):
        for value in (None, "text", -1, 0.5, True, [], {}, [None], {"a": None}):
            try:
                record = from_json(damaged_copy(whole, path, value))
            except ValueError as error:
                assert str(error)  # noqa: PT017 - there is no error where the value is as good
            else:
                assert from_json(to_json(record)) is not None
