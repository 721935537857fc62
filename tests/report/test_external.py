"""Rows of external checkpoints."""

from __future__ import annotations

from dataclasses import replace

from sslbench.bench.records.record import ExternalCheckpoint, Record
from sslbench.bench.report.external import (
    OWN_ENCODERS,
    external_notes,
    with_checkpoint_references,
    with_external_rows,
)
from tests.records.builders import accuracy_record

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
    assert external_notes([row], {row.key: "moco@v2"}) == ["encoder of moco@v2: resnet50: 224 pixels"]


def test_a_reading_of_its_own_is_named() -> None:
    """A note says where the features of a checkpoint were read, if not as the protocol reads all others."""
    checkpoint = replace(CHECKPOINT, reading={"pooling": "token", "default": None})
    row = replace(external(), source=replace(external().source, checkpoint=checkpoint))
    assert external_notes([row], {row.key: "x"}) == ["encoder of x: resnet50: 224 pixels, read at token"]
