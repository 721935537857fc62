"""Records: whole or not there at all, and never a reason to stop."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.records import record as records


def example(key: str = "0123456789abcdef", **changes: Any) -> records.Record:
    cell = {
        "method": "rotnet",
        "checkpoint": None,
        "encoder": "convnet",
        "dataset": "shapes",
        "pretrain_dataset": "shapes",
    }
    record = {
        "schema": 1,
        "key": key,
        "status": "ok",
        "error": None,
        "cell": cell | {"protocol": "linear", "variant": "", "seed": 0, "preset": "smoke"},
        "settings": {"method": {"turns": 4}, "encoder": {}, "recipe": {"views": 12_000}, "dataset": {}, "protocol": {}},
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
    return record | changes


PREDICTIONS = {"conv4": np.array([0, 1, 1]), "conv5": np.array([2, 1, 0]), "labels": np.array([0, 1, 2])}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A record and its predictions come back as they went, under a name that says what they are."""
    path = records.write(tmp_path / "new", example(), PREDICTIONS)
    assert path.name == "shapes-convnet-rotnet-linear-s0-0123456789abcdef.json"
    record = records.read(path)
    assert record == example(predictions=path.with_suffix(".npz").name)
    stored = records.read_predictions(path.parent, record)
    assert stored.keys() == PREDICTIONS.keys()
    assert all((stored[name] == PREDICTIONS[name]).all() for name in PREDICTIONS)
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".json", ".npz"]


def test_predictions_are_read_as_numpy_would(tmp_path: Path) -> None:
    """Of any numbers and shape, in either order; objects, which could run code, are refused."""
    stored = {
        "conv4": np.arange(6, dtype=np.int16),
        "conv4 accuracy_k5": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "labels": np.array([True, False]),
    }
    path = records.write(tmp_path, example(), stored)
    read = records.read_predictions(tmp_path, records.read(path))
    assert read.keys() == stored.keys()
    for name, array in np.load(path.with_suffix(".npz")).items():
        assert read[name].dtype == array.dtype
        assert (read[name] == array).all()
    np.savez(path.with_suffix(".npz"), conv4=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="objects"):
        records.read_predictions(tmp_path, records.read(path))


def test_json_holds_what_numpy_gave(tmp_path: Path) -> None:
    """NumPy scalars, tuples and NaN reach the file as plain JSON."""
    number = {
        "tap": "conv4",
        "metric": "accuracy",
        "value": np.float32(0.5),
        "low": float("nan"),
        "details": {"k": (1, 2)},
    }
    path = records.write(tmp_path, example(metrics=[number]))
    text = path.read_text()
    assert "NaN" not in text
    assert json.loads(text)["metrics"] == [number | {"value": 0.5, "low": None, "details": {"k": [1, 2]}}]


@pytest.mark.parametrize("predictions", [None, PREDICTIONS])
def test_a_crash_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictions: dict[str, np.ndarray] | None
) -> None:
    """Whatever dies between the temporary file and its renaming, the old files stay and no rubbish does."""
    path = records.write(tmp_path, example(), PREDICTIONS)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        records.write(tmp_path, example(status="failed", metrics=[]), predictions)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert records.read(path)["status"] == "ok"


def test_predictions_are_there_before_their_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees a record can read its predictions."""
    placed, replace = [], os.replace

    def watched(old: Path, new: Path) -> None:
        placed.append(new.suffix)
        replace(old, new)

    monkeypatch.setattr(os, "replace", watched)
    records.write(tmp_path, example(), PREDICTIONS)
    assert placed == [".npz", ".json"]


def test_a_newer_record_replaces_the_older(tmp_path: Path) -> None:
    """One key, one record: by its file name, and by its date where somebody renamed a file."""
    old = records.write(tmp_path, example(status="failed", error="out of memory", metrics=[]))
    assert records.find(tmp_path, example()["key"]) is None
    assert records.write(tmp_path, example()) == old
    assert records.find(tmp_path, example()["key"]) == old
    late = example(provenance={"created": "2026-02-01T00:00:00+00:00"}, deviations={"turns": 2})
    (tmp_path / "a-renamed-one.json").write_text(json.dumps(late))
    assert [record["deviations"] for record in records.read_all(tmp_path)[0]] == [{"turns": 2}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(example())[:200], "not whole JSON"),
        ("", "not whole JSON"),
        ('{"name": "a package"}', "not a record"),
        ("[1, 2]", "not a record"),
        (b"\xff\xfe\x00", "not text"),
        (json.dumps(example(schema=2)), "schema 2"),
        (json.dumps(example(key="short")), "key"),
        (json.dumps(example(status="fine")), "status"),
        (json.dumps(example(cell={"method": "rotnet"})), "cell without checkpoint"),
        (json.dumps(example(metrics=[{"tap": "conv4"}])), "a metric without"),
        (json.dumps(example(metrics=[{"tap": "conv4", "metric": "accuracy", "value": "high"}])), "not a number"),
        (json.dumps({name: part for name, part in example().items() if name != "card"}), "without card"),
    ],
)
def test_what_is_no_record_is_named_and_skipped(tmp_path: Path, content: str | bytes, reason: str) -> None:
    """A damaged or foreign file costs its own numbers and nobody else's."""
    good = records.write(tmp_path, example())
    bad = tmp_path / f"bad-{'f' * 16}.json"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    whole, damaged = records.read_all(tmp_path)
    assert whole == [records.read(good)]
    assert [path for path, _ in damaged] == [bad]
    assert reason in damaged[0][1]
    assert records.find(tmp_path, "f" * 16) is None


def test_an_empty_or_absent_folder_has_no_records(tmp_path: Path) -> None:
    """The first run starts from nothing."""
    assert records.read_all(tmp_path / "nowhere") == ([], [])
    assert records.find(tmp_path / "nowhere", "0" * 16) is None
    assert records.frame([]).empty


def test_no_room_is_told_in_one_line(tmp_path: Path) -> None:
    """A folder that cannot be written to is the user's to mend: path, reason, mend."""
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"taken.*cannot be written.*folder"):
        records.write(tmp_path / "taken", example())


def test_damaged_predictions_are_told(tmp_path: Path) -> None:
    """A truncated archive names itself and what to do."""
    path = records.write(tmp_path, example(), PREDICTIONS)
    archive = path.with_suffix(".npz")
    archive.write_bytes(archive.read_bytes()[:50])
    with pytest.raises(UserError, match="run the cell again"):
        records.read_predictions(tmp_path, records.read(path))


def write_many(folder: Path, keys: list[str]) -> None:
    for key in keys:
        records.write(folder, example(key), PREDICTIONS)


def test_two_processes_write_to_one_folder(tmp_path: Path) -> None:
    """Writers that share keys leave one whole record of each, and nothing else."""
    keys = [f"{number:016x}" for number in range(30)]
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, keys)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    whole, damaged = records.read_all(tmp_path)
    assert [record["key"] for record in whole] == keys
    assert not damaged
    assert all(records.read_predictions(tmp_path, record) for record in whole)
    assert len(list(tmp_path.iterdir())) == 2 * len(keys)


def test_the_frame_is_tidy() -> None:
    """One row per record, tap and metric; a failed record is one row without a number."""
    failed = example("f" * 16, status="failed", error="loss is not finite", metrics=[])
    rows = records.frame([example(), failed])
    assert rows[["key", "tap", "value"]].astype(object).where(rows.notna(), None).to_numpy().tolist() == [
        ["0123456789abcdef", "conv4", 0.5],
        ["0123456789abcdef", "conv5", 0.25],
        ["f" * 16, None, None],
    ]
    assert set(records.CELL) <= set(rows.columns)
    assert rows["source"].tolist() == ["bundled"] * 3
    assert rows["pretrain_views"].tolist() == [12_000] * 3
    assert rows["card"].nunique() == 1
