"""Footnotes of tables."""

from __future__ import annotations

from pathlib import Path

from sslbench.bench.report.footnotes import crop_notes, distinguishing_settings, settings_text
from sslbench.bench.report.render import write_report
from tests.records.builders import accuracy_record, changed_record


def test_a_collapsed_run_is_flagged(tmp_path: Path) -> None:
    """Its label says so, and a note names the seed and the spread of its embeddings; other rows have neither."""
    fine, flat = {"spread": 0.9, "collapsed": False}, {"spread": 0.0123, "collapsed": True}
    runs = [accuracy_record("swav", seed, 0.3, 0.3, pretext=pretext) for seed, pretext in enumerate((fine, flat))]
    # An older version defined the spread differently, and did not record whether a run collapsed.
    old = accuracy_record("moco", 0, 0.5, 0.5, pretext={"spread": 0.01})
    made = write_report([*runs, old, accuracy_record("rotnet", 0, 0.6, 0.6)], folder=tmp_path, formats=("md",))
    text = made.files[0].read_text()
    assert "| swav (collapsed) |" in text
    assert "moco (collapsed)" not in text
    note = "swav (collapsed), seed 1: all images have nearly the same embedding (spread 0.012 of 1)"
    assert f"collapsed in pretraining: {note}" in text


def test_a_note_says_from_what_crops_are_cut() -> None:
    """If pretraining cut them from larger pictures than the images; older records and a margin of 1 need no note."""
    base = accuracy_record("simclr", 0, 0.5, 0.5)
    margins = {
        margin: changed_record(base, settings={"pretrain_dataset": {"crop_margin": margin}}) for margin in (1.0, 1.5)
    }
    assert crop_notes(base) == crop_notes(margins[1.0]) == []
    ((what, note),) = crop_notes(margins[1.5])
    assert what == "random crops"
    assert "from a random square of each picture, read at 1.5 times the side of the views" in note
    assert "papers cut them from the whole file" in note


def test_things_of_one_name_are_distinguished_by_what_differs() -> None:
    """Settings that are equal in all things with the name are left out; a name alone needs none."""
    settings = [{"a": 1, "b": [1, 2]}, {"a": 1, "b": [3]}, {"a": 5, "b": []}]
    assert distinguishing_settings(["x", "x", "y"], settings) == ["b = 1, 2", "b = 3", ""]
    assert settings_text({"taps": ["conv4", "conv5"], "head": "mlp"}) == "taps = conv4, conv5; head = mlp"


def test_identities_of_data_are_shortened() -> None:
    """Two data sets of one name differ in the first digits."""
    first, second = ({"data": digit * 64} for digit in "ab")
    assert distinguishing_settings(["x", "x"], [first, second]) == [f"data = {digit * 12}" for digit in "ab"]
