"""Caches and results folders that are read-only, full or damaged: what is lost, and what is said when."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import torch

from sslbench.bench.checkpoints import store
from sslbench.bench.errors import StorageError, UserError
from sslbench.bench.evaluation.feature_files import FeatureWriter
from sslbench.bench.records import store as records
from sslbench.bench.run import encoder, preflight
from sslbench.bench.storage import atomic
from tests.builders import QUICK_OPTIONS, run_quickly, run_without_writing_to

pytestmark = pytest.mark.slow

KNN = ["--protocol", "knn", "--set", "knn.k=20", "--quiet", "--no-references"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of each test's own."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_complete_cache_may_be_read_only(cache: Path, results: Path, tmp_path: Path) -> None:
    """A run that finds everything in the cache writes nothing there."""
    words = ["--methods", "rotnet,random", *KNN]
    assert run_quickly(results, *words) == 0
    (first,) = (record for record in records.read_all(results / "records")[0] if record.cell.method == "rotnet")
    again = tmp_path / "again"
    done = run_without_writing_to(cache, [*words, *QUICK_OPTIONS, "--results", str(again)])
    assert done.returncode == 0
    # Nothing but finished cells and the summary.
    assert all(re.match(r"\[\d/\d\] \w+  knn  |\d cells?: ", line) for line in done.stderr.splitlines()), done.stderr
    (second,) = (record for record in records.read_all(again / "records")[0] if record.cell.method == "rotnet")
    assert second.source.kind == "cached"
    assert second.measurements == first.measurements


@pytest.mark.parametrize(("command", "reason"), [("run", "EROFS"), ("pretrain", "EACCES"), ("run", "ENOSPC")])
def test_a_cache_that_takes_no_encoder_is_said_before_training(
    command: str, reason: str, cache: Path, results: Path
) -> None:
    """The error comes before any step of pretraining, names the cache, and is one line."""
    options = KNN if command == "run" else ["--quiet"]
    words = [command, "--methods", "rotnet", *options, *QUICK_OPTIONS, "--results", str(results)]
    done = run_without_writing_to(cache / "encoders", words, reason)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: The cache folder {cache} cannot take pretrained encoders (")
    assert os.strerror(getattr(errno, reason)) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not results.exists()


def test_a_cache_without_space_for_the_encoder_is_said_before_training(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The free space is compared with the size of what will be saved."""
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2 << 20}))
    assert run_quickly(results, "--methods", "rotnet", *KNN) == 2
    assert "2,097,152 are free" in capsys.readouterr().err


def test_a_disk_that_fills_up_costs_the_cells_of_one_encoder(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If an encoder cannot be saved, its cells fail in one line; the others are measured, and the next run repairs."""
    save = store.save_encoder

    def full_for_one(path: Path, *arguments: object) -> None:
        if not results.joinpath("full").exists():
            results.joinpath("full").touch()
            raise StorageError(f"{path}: cannot be written (No space left on device).")
        save(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "save_encoder", full_for_one)
    words = ["--methods", "rotnet,jigsaw", *KNN]
    assert run_quickly(results, *words) == 1
    assert "failed: rotnet:" in capsys.readouterr().err
    statuses = {record.cell.method: record.status for record in records.read_all(results / "records")[0]}
    assert statuses == {"rotnet": "failed", "jigsaw": "ok"}
    assert run_quickly(results, *words) == 0
    assert not any(record.failed for record in records.read_all(results / "records")[0])


def test_features_that_do_not_fit_cost_the_cells_of_one_encoder(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for features."""

    def full(_: FeatureWriter) -> None:
        monkeypatch.undo()
        raise StorageError("features: cannot be written (No space left on device).")

    monkeypatch.setattr(FeatureWriter, "finish", full)
    assert run_quickly(results, "--methods", "random,pixels", *KNN) in (1, 2)


def test_a_failed_repetition_keeps_the_older_result(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk during --overwrite does not replace a measured cell by a failed one."""

    def full(*_: object) -> None:
        raise StorageError("x: cannot be written (No space left on device).")

    words = ["--methods", "random", *KNN]
    assert run_quickly(results, *words) == 0
    before = records.read_all(results / "records")[0]
    monkeypatch.setattr(FeatureWriter, "finish", full)
    assert run_quickly(results, *words, "--overwrite") == 1
    assert records.read_all(results / "records")[0] == before


def test_records_that_cannot_be_written_end_the_run_in_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a place for results there is nothing left to do."""
    write = atomic.atomic_write

    def full(path: Path, content: bytes) -> None:
        if path.parent == results / "records":
            raise StorageError(f"{path}: cannot be written (No space left on device). Free some space.")
        write(path, content)

    monkeypatch.setattr(records, "atomic_write", full)
    assert run_quickly(results, "--methods", "random", *KNN) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def zero_tensors(file: Path) -> None:
    """Replaces the tensors by zeros, as a power cut may leave them; the header stays."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:start] + bytes(len(content) - start))


@pytest.mark.parametrize(
    "damage",
    [zero_tensors, lambda file: file.write_bytes(file.read_bytes()[:5000]), lambda file: file.write_bytes(b"")],
)
def test_a_damaged_encoder_in_the_cache_is_pretrained_again(
    damage: object, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is never used: the weights are those of the first run, and the damaged file is kept under another name."""
    words = ["--methods", "rotnet", *KNN]
    assert run_quickly(results, *words) == 0
    (first,) = records.read_all(results / "records")[0]
    file = store.cached_encoder_path(str(first.identity.recipe))
    damage(file)  # type: ignore[operator]
    again = results.with_name("again")
    assert run_quickly(again, *words) == 0
    (second,) = records.read_all(again / "records")[0]
    assert second.identity == first.identity
    assert second.measurements == first.measurements
    assert second.source.kind == "pretrained"
    assert file.with_name(f"{file.name}.damaged").exists()
    assert "is pretrained again" in caplog.text


def test_damaged_heads_are_not_used(results: Path) -> None:
    """Heads are trained again if their file is damaged."""
    assert run_quickly(results, "--methods", "rotnet", *KNN) == 0
    (record,) = records.read_all(results / "records")[0]
    heads = store.cached_heads_path(str(record.identity.recipe))
    assert store.read_tensors(heads)[0]
    zero_tensors(heads)
    with pytest.raises(UserError, match="damaged"):
        store.read_tensors(heads)


def test_everything_is_computed_again_on_request(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--overwrite trains, extracts and measures again, although cache and results have everything."""
    words = ["--methods", "rotnet", *KNN]
    assert run_quickly(results, *words) == 0
    trained, extracted = [], []
    pretrain, finish = encoder.pretrain, FeatureWriter.finish
    monkeypatch.setattr(encoder, "pretrain", lambda *a: (trained.append(1), pretrain(*a))[1])
    monkeypatch.setattr(FeatureWriter, "finish", lambda writer: (extracted.append(1), finish(writer))[1])
    (before,) = records.read_all(results / "records")[0]
    assert run_quickly(results, *words, "--overwrite") == 0
    (after,) = records.read_all(results / "records")[0]
    assert (len(trained), len(extracted)) == (1, 4), "two taps of two splits"
    assert after.source.kind == "pretrained"
    assert after.measurements == before.measurements


def test_a_damaged_interrupted_run_starts_again(tmp_path: Path, results: Path) -> None:
    """The file of an interrupted run is renamed if a byte in it has changed."""
    from sslbench.bench.training.loop import build_optimiser, restore_training_state, save_training_state
    from sslbench.bench.training.recipe import Recipe

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(40, 40)

    method = Small()
    optimiser = build_optimiser(method, Recipe())  # type: ignore[arg-type]
    path = tmp_path / "run.partial"
    save_training_state(path, method, optimiser, [(1.0, 2.0)])  # type: ignore[arg-type]
    content = bytearray(path.read_bytes())
    place = content.find(method.layer.weight.detach().numpy().tobytes()[:64])
    assert place > 0
    content[place : place + 64] = bytes(64)
    path.write_bytes(content)
    before = method.layer.weight.detach().clone()
    assert restore_training_state(path, method, optimiser) == []  # type: ignore[arg-type]
    assert torch.equal(method.layer.weight, before)
    assert path.with_name("run.partial.damaged").exists()
