"""What rows learned from, and that only rows alike are ranked together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sslbench.bench.records.comparable import CEILING
from sslbench.bench.records.record import ExternalCheckpoint, Record
from sslbench.bench.report.learning import learned_from
from sslbench.bench.report.render import write_report
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record


def external(token: str) -> Record:
    """A record of weights that were trained elsewhere."""
    checkpoint = ExternalCheckpoint(token=token, encoder="resnet50")
    source = {"kind": "published", "checkpoint": checkpoint}
    return accuracy_record(token, 0, 0.7, 0.8, source=source, cell={"encoder": "resnet50"})


@pytest.mark.parametrize(
    ("method", "settings", "kind"),
    [
        ("rotnet", {}, "images"),
        ("clip", {}, "images and captions"),
        ("depth", {}, "images and depth"),
        ("tracking", {}, "images and clips"),
        ("cpc", {"sequence": "frames"}, "images and clips"),
        ("cpc", {"sequence": "patches"}, "images"),
        ("supervised", {}, "images and labels"),
        ("gone", {}, "unknown"),
    ],
)
def test_a_method_declares_what_it_learns_from(method: str, settings: dict[str, str], kind: str) -> None:
    """It follows from what the method's source text says that it needs, with the record's settings."""
    record = accuracy_record(method, 0, 0.5, 0.5, settings=settings)
    assert learned_from(record) == kind
    if kind == "unknown":
        assert learned_from(replace(record, source=replace(record.source, needs=("clips",)))) == "images and clips"


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("moco@v2_800ep", "images"),
        ("supervised@x", "images and labels"),
        ("torchvision/resnet18", "images and labels"),
        ("timm/resnet50.a1_in1k", "images and labels"),
        ("timm/vit_small_patch16_224.dino", "images"),
        ("timm/vit_base_patch16_clip_224.openai", "images and captions"),
        ("timm/vit_base_patch16_clip_224.laion2b_ft_in1k", "images, captions and labels"),
        ("timm/vit_base_patch16_224.mae", "images"),
        ("timm/resnet50", "unknown"),
        ("file/x.pt", "unknown"),
    ],
)
def test_weights_of_others_are_known_by_name(token: str, kind: str) -> None:
    """The method of a registered checkpoint, or the tag of a library's weights, says what they learned from."""
    assert learned_from(external(token)) == kind


def test_only_rows_alike_are_ranked_together(tmp_path: Path) -> None:
    """CLIP is better than two methods that learn from images alone, and yet not marked as the best."""
    values = {"clip": 0.9, "rotnet": 0.6, "moco": 0.5, CEILING: 0.95}
    records = [accuracy_record(method, 0, value, value) for method, value in values.items()]
    (table,) = build_tables([records], (), {}, {})
    ranks = {row.label: row.rank for row in table.rows.itertuples()}
    assert ranks["clip"] != ranks["clip"]
    assert (ranks["rotnet"], ranks["moco"]) == (1, 2)
    text = write_report(records, folder=tmp_path, formats=()).text
    assert "ranked only with rows that learn from the same\n" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "clip images, captions 90.0 ± 2.0 90.0 ± 2.0" in lines
    assert "method learns from conv4 conv5" in lines
    assert "*60.0" in text
    assert "*90.0" not in text


def test_titles_and_notes_do_not_claim_others_encoders_and_budgets(tmp_path: Path) -> None:
    """A table with checkpoints names several encoders and the rows of another budget; one of them alone no preset."""
    both = write_report(
        [accuracy_record("rotnet", 0, 0.5, 0.5), external("timm/resnet50")], folder=tmp_path, formats=()
    ).text
    assert "on shapes, several encoders (convnet and others), small\n" in both
    assert "trained elsewhere, with other data and another budget: timm/resnet50" in both
    alone = write_report([external("timm/resnet50")], folder=tmp_path, formats=()).text
    assert alone.startswith("linear: accuracy (%) on shapes, several encoders\n")
    assert "preset" not in alone
    assert "320,000" not in alone
