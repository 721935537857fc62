"""Rows of external checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sslbench.bench.records.record import Cost, ExternalCheckpoint, Record, from_json, to_json
from sslbench.bench.report.columns import describing_columns
from sslbench.bench.report.external import (
    OWN_ENCODERS,
    external_encoders,
    with_checkpoint_references,
    with_external_rows,
)
from sslbench.bench.report.render import write_report
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record, changed_record

CHECKPOINT = ExternalCheckpoint(
    token="moco@v2",
    encoder="resnet50",
    published={"linear": {"conv5": 0.711}},
    published_in="https://example.org/table",
    input={"words": "224 pixels"},
)


def external(**changes: object) -> Record:
    """A record of an external checkpoint."""
    source = {"kind": "published", "checkpoint": CHECKPOINT}
    return accuracy_record("moco", 0, 0.7, 0.8, source=source, cell={"encoder": "resnet50"}, **changes)


def test_an_external_checkpoint_is_a_row_of_every_encoder() -> None:
    """It is repeated once for each encoder that was asked the same question, under its name on the command line."""
    records = [
        accuracy_record(method, 0, 0.5, 0.5, cell={"encoder": name}) for method in "ab" for name in ("nin", "vit")
    ]
    rows = [record for record in with_external_rows([*records, external()]) if record.is_external]
    assert [(row.cell.method, row.cell.encoder) for row in rows] == [("moco@v2", "nin"), ("moco@v2", "vit")]


def test_without_a_table_to_join_checkpoints_share_one() -> None:
    """Where other data or other settings of the protocol were measured, their table is one of checkpoints alone."""
    other = accuracy_record("rotnet", 0, 0.5, 0.5, identity={"dataset": "other"})
    (row,) = (record for record in with_external_rows([other, external()]) if record.is_external)
    assert row.cell.encoder == OWN_ENCODERS


def test_published_numbers_and_encoders_are_named() -> None:
    """Their published accuracies are added to the table's references, and a note says what they read images with."""
    (row,) = with_external_rows([external()])
    references = with_checkpoint_references(None, [row], ["conv4", "conv5"], "accuracy")
    assert references
    assert references.values == {("moco@v2", "", "conv5"): 0.711}
    assert references.sources == ("https://example.org/table",)
    assert external_encoders([row], {row.key: "moco@v2"}) == [("encoder of moco@v2", "resnet50: 224 pixels")]


def test_a_reading_of_its_own_is_named() -> None:
    """A note says where the features of a checkpoint were read, if not as the protocol reads all others."""
    checkpoint = replace(CHECKPOINT, reading={"pooling": "token", "default": None})
    row = replace(external(), source=replace(external().source, checkpoint=checkpoint))
    assert external_encoders([row], {row.key: "x"}) == [("encoder of x", "resnet50: 224 pixels, read at token")]


def test_a_record_of_a_checkpoint_claims_neither_preset_nor_budget() -> None:
    """Also one of an earlier version, which did; its probe's precision and seed stay."""
    recipe = {"views": 320_000, "seed": 0, "precision": "fp32"}
    claims = changed_record(external(), settings={"recipe": recipe})
    assert claims.cell.preset == "small"
    read = from_json(to_json(claims))
    assert (read.cell.preset, read.cell.pretrain_dataset, read.identity.pretrain_dataset) == (None, None, None)
    assert read.settings.recipe == {"seed": 0, "precision": "fp32"}
    own = accuracy_record("rotnet", 0, 0.5, 0.5)
    assert from_json(to_json(own)) == own


def test_columns_name_the_encoders_of_checkpoints() -> None:
    """Encoder, input side and parameters differ between rows; what pretraining cost is known of one's own alone."""
    own = [
        changed_record(
            accuracy_record(method, 0, 0.5, 0.5, cost=Cost(pretrain_flops=3.6e13, encoder_parameters=310_000)),
            settings={"dataset": {"image_size": 32}},
        )
        for method in ("rotnet", "moco")
    ]
    checkpoint = external(cost=Cost(encoder_parameters=23_508_032))
    checkpoint = replace(
        checkpoint, source=replace(checkpoint.source, checkpoint=replace(CHECKPOINT, input={"size": 224, "words": "x"}))
    )
    rows = with_external_rows([*own, checkpoint])
    (table,) = build_tables([rows], (), {}, {})
    before, after = describing_columns(table)
    assert {column.name: column.texts for column in (*before, *after)} == {
        "encoder": {"moco@v2": "resnet50", "rotnet": "convnet", "moco": "convnet"},
        "input (px)": {"moco@v2": "224", "rotnet": "32", "moco": "32"},
        "parameters": {"moco@v2": "24 M", "rotnet": "310 k", "moco": "310 k"},
        "pretraining FLOPs": {"moco@v2": "-", "rotnet": "36 T", "moco": "36 T"},
    }
    assert table.rows_by_label[0][0] == "moco@v2"


def test_parameters_that_are_the_same_are_said_once(tmp_path: Path) -> None:
    """A column would repeat them; rows of different kinds of learning have a column for that."""
    runs = [
        accuracy_record(method, 0, value, value, cost=Cost(encoder_parameters=310_000))
        for method, value in (("rotnet", 0.6), ("moco", 0.5), ("clip", 0.7))
    ]
    text = write_report(runs, folder=tmp_path, formats=()).text
    assert "encoder convnet (310 k parameters)" in text
    assert "method learns from conv4 conv5" in " ".join(text.split())
