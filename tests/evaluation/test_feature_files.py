"""Files of features: damage is found, and a read-only cache is read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import StorageError
from sslbench.bench.evaluation import feature_files
from sslbench.bench.evaluation.feature_files import FeatureWriter, is_intact, read_features
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.bench.evaluation.representation import Representation

SPEC = FeatureSpec("conv4", 64)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of each test's own."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))


def represent(dataset: Dataset, *, recompute: bool = False) -> Representation:
    """A small convnet of fixed weights on the data set."""
    torch.manual_seed(3)
    return Representation(ConvNet(32, width=4), dataset, "data", CPU, "fp32", recompute=recompute)


def test_a_file_holds_what_was_appended(tmp_path: Path) -> None:
    """The file appears when it is complete, as an .npy file that NumPy reads."""
    features, target = torch.rand(7, 5), tmp_path / "features" / "x.npy"
    writer = FeatureWriter(target, (7, 5))
    writer.append(features[:4])
    writer.append(features[4:])
    assert not target.exists()
    writer.finish()
    writer.discard()
    assert [path.name for path in target.parent.iterdir()] == ["x.npy"]
    assert torch.equal(read_features(target, CPU), features)
    assert np.array_equal(np.load(target), features.numpy())
    assert is_intact(target, 7)
    assert not is_intact(target, 8)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
    "zeros of the right length": lambda content: content[:128] + bytes(len(content) - 128),
    "zeros alone": lambda content: bytes(len(content)),
    "no checksum, as earlier versions wrote": lambda content: content[:-4],
    "cut short": lambda content: content[:-100],
    "empty": lambda content: b"",
    "too long": lambda content: content + b"x",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_features_are_extracted_again(damage: Callable[[bytes], bytes], tiny: Dataset) -> None:
    """Whatever happened to the file, in this run or before it, the features are those of the encoder."""
    representation = represent(tiny)
    whole = representation.train(SPEC).clone()
    file = representation._file("train", SPEC)
    for again in (representation, represent(tiny)):
        file.write_bytes(damage(file.read_bytes()))
        assert torch.equal(again.train(SPEC), whole)
        assert is_intact(file, 64)


def test_features_of_earlier_runs_are_computed_again_on_request(tiny: Dataset) -> None:
    """With --overwrite even an intact file is not trusted, and each file is made once."""
    representation = represent(tiny)
    whole = representation.train(SPEC).clone()
    file = representation._file("train", SPEC)
    wrong = FeatureWriter(file, (64, whole.shape[1]))
    wrong.append(whole + 1)
    wrong.finish()
    assert torch.equal(represent(tiny).train(SPEC), whole + 1), "the file is intact"
    renewed = represent(tiny, recompute=True)
    assert torch.equal(renewed.train(SPEC), whole)
    assert list(renewed.extract([SPEC])) == []


def test_stored_features_are_read_where_nothing_can_be_written(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the last use cannot be noted in a read-only cache, and that is no error."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    whole = represent(tiny).train(SPEC).clone()
    monkeypatch.setattr(os, "utime", refuse)
    assert torch.equal(represent(tiny).train(SPEC), whole)


def test_files_that_another_process_takes_away_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between listing the folder and looking at a file, its writer may have renamed it."""
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    listed = list(os.scandir(tmp_path))
    (tmp_path / "a").unlink()
    monkeypatch.setattr(os, "scandir", lambda _: listed)
    feature_files.make_room(tmp_path, 100)


def test_a_full_disk_is_said_before_and_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in both cases, and no temporary file stays."""
    monkeypatch.setattr(feature_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(StorageError, match="400 bytes of features do not fit"):
        FeatureWriter(tmp_path / "x.npy", (10, 10))
    monkeypatch.undo()
    writer = FeatureWriter(tmp_path / "x.npy", (10, 10))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    writer.append(torch.rand(10, 10))
    with pytest.raises(StorageError, match="No space left on device"):
        writer.finish()
    writer.discard()
    assert list(tmp_path.iterdir()) == []
