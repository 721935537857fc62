"""Record files: written whole or not at all, and a damaged one never stops anybody."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslbench.bench.errors import UserError
from sslbench.bench.records import store
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.predictions import Predictions, read_predictions
from sslbench.bench.records.record import Examples, to_json
from tests.records.builders import changed_record, example_record

PREDICTIONS = Predictions(
    labels=np.array([0, 1, 2]), by_name={"conv4": np.array([0, 1, 1]), "conv5": np.array([2, 1, 0])}
)


def test_a_written_record_is_read_back(tmp_path: Path) -> None:
    """The record read is equal to the one written, and its file name says what it is."""
    path = store.write(tmp_path / "new", example_record(), PREDICTIONS, b"a picture")
    assert path.name == "shapes-convnet-rotnet-linear-s0-0123456789abcdef.json"
    names = {"predictions": f"{path.stem}.npz", "pictures": f"{path.stem}.webp"}
    record = store.read(path)
    assert record == example_record(**names)
    assert record.folder == path.parent
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".json", ".npz", ".webp"]


def test_json_holds_plain_values(tmp_path: Path) -> None:
    """NumPy scalars, tuples, paths and NaN reach the file as plain JSON; NaN is read back as NaN or None."""
    measurement = Measurement(
        tap="conv4", metric="accuracy", value=np.float32(0.5), ci_low=float("nan"), details={"k": (1, 2)}
    )
    record = example_record(
        measurements=(measurement, Measurement(tap="conv5", metric="accuracy", value=np.nan)),
        settings={"dataset": {"file": Path("a"), "sizes": {3, 1}}},
    )
    text = store.write(tmp_path, record).read_text()
    assert "NaN" not in text
    first, second = json.loads(text)["measurements"]
    empty = {"unit": "", "chance": None, "ci_low": None, "ci_high": None, "higher_is_better": True}
    assert first == empty | {"tap": "conv4", "metric": "accuracy", "value": 0.5, "details": {"k": [1, 2]}}
    assert second["value"] is None
    assert json.loads(text)["settings"]["dataset"] == {"file": "a", "sizes": [1, 3]}
    (found,), _ = store.read_all(tmp_path)
    assert found.measurements[0].ci_low is None
    assert np.isnan(found.measurements[1].value)


def test_a_record_that_cannot_be_read_again_is_not_written(tmp_path: Path) -> None:
    """A wrong type is an error of the program, found before anything is written."""
    with pytest.raises(ValueError, match="seed is 'one'"):
        store.write(tmp_path, example_record(cell={"seed": "one"}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("predictions", [None, PREDICTIONS])
def test_a_crash_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predictions: Predictions | None
) -> None:
    """A crash between the temporary file and its renaming changes no file and leaves no temporary one."""
    path = store.write(tmp_path, example_record(), PREDICTIONS)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path, example_record(status="failed", measurements=()), predictions)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert not store.read(path).failed


def test_predictions_are_there_before_their_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that can be seen has predictions that can be read."""
    placed, real_replace = [], os.replace

    def watch(old: Path, new: Path) -> None:
        placed.append(new.suffix)
        real_replace(old, new)

    monkeypatch.setattr(os, "replace", watch)
    store.write(tmp_path, example_record(), PREDICTIONS)
    assert placed == [".npz", ".json"]


def test_a_newer_record_replaces_the_older(tmp_path: Path) -> None:
    """There is one record per key: by its file name, and by its date if somebody renamed a file."""
    old = store.write(tmp_path, example_record(status="failed", error="out of memory", measurements=()))
    assert store.find(tmp_path, example_record().key) is None
    assert store.write(tmp_path, example_record()) == old
    assert store.find(tmp_path, example_record().key) == old
    late = example_record(provenance={"created": "2026-02-01T00:00:00+00:00"}, deviations={"turns": 2})
    (tmp_path / "a-renamed-one.json").write_text(json.dumps(to_json(late)))
    assert [record.deviations for record in store.read_all(tmp_path)[0]] == [{"turns": 2}]


WHOLE = to_json(example_record())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(WHOLE)[:200], "not whole JSON"),
        ("", "not whole JSON"),
        ('{"name": "a package"}', "not a record"),
        ("[1, 2]", "not a record"),
        (b"\xff\xfe\x00", "not text"),
        (json.dumps(WHOLE | {"schema": 3}), "schema 3, this version reads 1 and 2"),
        (json.dumps(WHOLE | {"key": "short"}), "key is not 16 hex digits"),
        (json.dumps(WHOLE | {"status": "fine"}), "status is 'fine', not 'ok' or 'failed'"),
        (json.dumps(WHOLE | {"cell": {"method": "rotnet"}}), "cell has no checkpoint, encoder"),
        (json.dumps(WHOLE | {"measurements": [{"tap": "conv4"}]}), "measurements has no metric, value"),
        (
            json.dumps(WHOLE | {"measurements": [{"tap": "conv4", "metric": "accuracy", "value": "high"}]}),
            "measurements value is 'high', not a number",
        ),
        (json.dumps(WHOLE | {"cost": {"probe_seconds": float("inf")}}), "Infinity is not a number"),
        (json.dumps(WHOLE).replace("2.5", "1e999"), "1e999 is not a number"),
        (json.dumps(WHOLE | {"cell": WHOLE["cell"] | {"seed": None}}), "cell seed is 'None', not a whole number"),
        (json.dumps({name: part for name, part in WHOLE.items() if name != "card"}), "has no card"),
    ],
)
def test_a_damaged_file_is_named_and_skipped(tmp_path: Path, content: str | bytes, reason: str) -> None:
    """A damaged or foreign file costs its own results and no others."""
    good = store.write(tmp_path, example_record())
    bad = tmp_path / f"bad-{'f' * 16}.json"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    whole, damaged = store.read_all(tmp_path)
    assert whole == [store.read(good)]
    assert [path for path, _ in damaged] == [bad]
    assert reason in damaged[0][1]
    assert store.find(tmp_path, "f" * 16) is None


def test_an_empty_or_absent_folder_has_no_records(tmp_path: Path) -> None:
    """The first run starts from nothing."""
    assert store.read_all(tmp_path / "nowhere") == ([], [])
    assert store.find(tmp_path / "nowhere", "0" * 16) is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """The user learns the path, the reason and what to do."""
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"taken.*cannot be written.*folder"):
        store.write(tmp_path / "taken", example_record())


def write_many(folder: Path, keys: list[str]) -> None:
    """Write a record and its predictions for each key."""
    for key in keys:
        store.write(folder, example_record(key), PREDICTIONS)


def test_two_processes_write_to_one_folder(tmp_path: Path) -> None:
    """Writers that share keys leave one whole record of each, and nothing else."""
    keys = [f"{number:016x}" for number in range(30)]
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, keys)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    whole, damaged = store.read_all(tmp_path)
    assert [record.key for record in whole] == keys
    assert not damaged
    assert all(read_predictions(record) for record in whole)
    assert len(list(tmp_path.iterdir())) == 2 * len(keys)


def test_names_become_one_file_name() -> None:
    """Dashes divide the names, and signs that a path could not hold are replaced."""
    assert store.file_name("a b", "timm/resnet18", "x-y") == "a_b-timm_resnet18-x_y"
    assert store.file_stem(changed_record(example_record(), cell={"encoder": "timm/vit"})).count("/") == 0


def test_a_long_or_hidden_name_becomes_a_file_name_too() -> None:
    """File systems allow 255 bytes; the last part stays whole, since cells are found by it."""
    long = [store.file_name("é" * 200 + end, "0123456789abcdef") for end in "ab"]
    assert all(name.endswith("-0123456789abcdef") and len(name.encode()) <= 200 for name in long)
    assert long[0] != long[1]
    assert store.file_name("../a", "b") == "_._a-b"
    assert store.file_name(".a", "b") == "_a-b", "a hidden file would not be read"


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.webp", "a/b.webp", "C:\\secret.webp", ".."])
@pytest.mark.parametrize("part", ["predictions", "pictures", "examples"])
def test_a_record_names_only_files_next_to_it(tmp_path: Path, part: str, name: str) -> None:
    """A record that names another place is damaged: a page or a test would otherwise show any file of the machine."""
    path = store.write(tmp_path, example_record())
    content = json.loads(path.read_text())
    examples = {"file": name, "side": 64, "titles": ["query"], "captions": [[]]}
    path.write_text(json.dumps(content | {part: examples if part == "examples" else name}))
    found, ((_, reason),) = store.read_all(tmp_path)
    assert found == []
    assert "not the name of a file next to the record" in reason


def test_examples_are_stored_next_to_the_record(tmp_path: Path) -> None:
    """The record names their file, which ends in its own way; without a file it names none."""
    examples = Examples(file="", side=64, titles=("query", "nearest"), captions=((), ("right", "wrong")))
    record = example_record(examples=examples)
    path = store.write(tmp_path, record, examples=b"content")
    found = store.read(path)
    assert found.examples == replace(examples, file=f"{path.stem}.examples.webp")
    assert (tmp_path / f"{path.stem}.examples.webp").read_bytes() == b"content"
    assert store.read(store.write(tmp_path, record)).examples is None


def test_a_link_next_to_a_record_is_refused(tmp_path: Path) -> None:
    """A link could lead out of the folder."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.webp").symlink_to(tmp_path / "secret")
    record = replace(store.read(store.write(tmp_path, example_record())), pictures="a.webp")
    with pytest.raises(UserError, match=r"a\.webp: is a link"):
        record.path_of(record.pictures)
