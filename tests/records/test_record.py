"""Records of both schemas: what is read from the JSON of earlier versions."""

from __future__ import annotations

from typing import Any

import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store
from sslbench.bench.records.record import ExternalCheckpoint, from_json, to_json
from tests.records.builders import damaged_versions, example_record, full_record

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


@pytest.mark.parametrize("schema", [1, 2])
def test_a_damaged_value_is_refused_or_harmless(schema: int) -> None:
    """Whatever replaces a value: reading raises ValueError with a reason, or gives a record that can be written."""
    for content in damaged_versions(SCHEMA_1 if schema == 1 else to_json(full_record())):
        try:
            record = from_json(content)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - some values are as good as the replaced one
        else:
            from_json(to_json(record))


def test_accuracies_of_schema_1_get_wilsons_interval() -> None:
    """The bootstrap's interval of 45 of 45 right had no width; an interval of another kind of value is kept."""
    content = to_json(example_record()) | {
        "schema": 1,
        "card": {"test_images": 45},
        "metrics": [
            {"tap": "conv5", "metric": "accuracy", "value": 1.0, "low": 1.0, "high": 1.0},
            {"tap": "conv5", "metric": "macro_accuracy", "value": 0.5, "low": 0.4, "high": 0.6},
        ],
    }
    accuracy, macro = from_json(content).measurements
    assert (accuracy.ci_low, accuracy.ci_high) == (pytest.approx(45 / (45 + 1.959964**2)), 1.0)
    assert (macro.ci_low, macro.ci_high) == (0.4, 0.6)
