"""Data sets that torchvision fetches: facts without files, files without network, and no network at all."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets.cifar  # type: ignore[import-untyped, unused-ignore]
import torchvision.datasets.stl10  # type: ignore[import-untyped, unused-ignore]

from sslbench.bench.data._published import PublishedSource
from sslbench.bench.data.cifar10 import Cifar10
from sslbench.bench.data.cifar100 import Cifar100
from sslbench.bench.data.stl10 import Stl10
from sslbench.bench.errors import UserError
from sslbench.bench.storage import download

LOAD: frozenset[str] = frozenset()
ANSWERING = urllib.request.urlopen  # before a test takes the network away
ALL = [Cifar10, Cifar100, Stl10]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the network, which is gone."""
    asked: list[str] = []

    def gone(request: urllib.request.Request, timeout: float) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", gone)
    return asked


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 is as small as ``fake`` makes it."""
    monkeypatch.setattr(Cifar10, "published", replace(Cifar10.published, train_images=10, test_images=4))


def fake(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """A CIFAR-10 of 10 train and 4 test pictures as published; returns the train pictures (10, 3, 32, 32)."""
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        count = 4 if name == "test_batch" else 2
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        batches.append(pixels.reshape(-1, 3, 32, 32))
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(count))}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(Cifar10.published.classes)}))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: Path(path).is_file())
    return np.concatenate(batches[:5])


@pytest.mark.parametrize("source", ALL)
def test_the_published_facts_agree_with_torchvisions(source: type[PublishedSource]) -> None:
    published, theirs = source.published, getattr(torchvision.datasets, source.__name__.upper())
    assert (published.url, published.folder, published.archive) == (theirs.url, theirs.base_folder, theirs.filename)
    files = {name for name, _ in theirs.train_list + theirs.test_list}
    assert files <= set(published.files)


@pytest.mark.parametrize("source", ALL)
def test_facts_need_neither_files_nor_network(source: type[PublishedSource], downloads: list[str]) -> None:
    facts = source().check()
    assert len(set(facts.classes)) == len(facts.classes) == (100 if facts.name == "cifar100" else 10)
    assert facts.identity == source().check().identity
    assert facts.identity != source(image_size=64).check().identity
    assert downloads == []


def test_identities_differ_between_sets() -> None:
    assert len({source().check().identity for source in ALL}) == 3


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("inside", [False, True], ids=["directory", "folder in it"])
def test_pictures_and_labels_are_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    pixels = fake(tmp_path / "data", monkeypatch)
    where = tmp_path / "data" / ("cifar-10-batches-py" if inside else "")
    data = Cifar10(data_dir=str(where)).load(LOAD)
    assert torch.equal(data.train.images[:], torch.from_numpy(pixels))
    assert data.train.labels.tolist() == [0, 1] * 5
    assert data.train.labels.dtype == torch.int64
    assert data.test.labels.tolist() == [0, 1, 2, 3]
    assert data.image_size == 32
    assert data.name == "cifar10"


@pytest.mark.usefixtures("tiny")
def test_another_size_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = fake(tmp_path / "data", monkeypatch)
    source = Cifar10(data_dir=str(tmp_path / "data"), image_size=16)
    images = source.load(LOAD).train.images[:]
    assert images.shape == (10, 3, 16, 16)
    means = torch.from_numpy(pixels).float().mean((2, 3)) - images.float().mean((2, 3))
    assert means.abs().max() < 5
    monkeypatch.setattr(
        Cifar10, "published", replace(Cifar10.published, read=lambda root, train: pytest.fail("read again"))
    )
    assert torch.equal(source.load(LOAD).train.images[:], images)


def test_stl10_is_upright_and_counts_from_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files hold columns first, and labels from 1 to 10."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for split in ("train", "test"):
        pixels.transpose(0, 1, 3, 2).tofile(folder / f"{split}_X.bin")
        np.array([1, 10, 5], np.uint8).tofile(folder / f"{split}_y.bin")
    (folder / "unlabeled_X.bin").touch()
    monkeypatch.setattr(torchvision.datasets.stl10, "check_integrity", lambda path, md5: Path(path).is_file())
    monkeypatch.setattr(Stl10, "published", replace(Stl10.published, train_images=3, test_images=3))
    data = Stl10(data_dir=str(tmp_path)).load(LOAD)
    assert torch.equal(data.train.images[:], torch.from_numpy(pixels))
    assert data.test.labels.tolist() == [0, 9, 4]


@pytest.mark.parametrize("source", ALL)
def test_without_a_network_the_file_to_fetch_is_named(
    source: type[PublishedSource], cache: Path, downloads: list[str]
) -> None:
    """With the directory to put it into."""
    with pytest.raises(UserError) as caught:
        source().load(LOAD)
    published, sentence = source.published, str(caught.value)
    assert "no route to host" in sentence
    assert f"Fetch {published.url} by hand" in sentence
    assert f"put {published.archive} into {cache / 'datasets'}" in sentence
    assert downloads == [published.url]


@pytest.fixture
def published(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 is a tiny archive at an address that answers; the folder that holds the same files."""
    fake(tmp_path / "published", monkeypatch)
    archive = tmp_path / "published" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "published" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(Cifar10, "published", replace(Cifar10.published, url=archive.as_uri()))
    monkeypatch.setattr(urllib.request, "urlopen", ANSWERING)
    return tmp_path / "published"


def same_bytes_as(folder: Path) -> Callable[[str, str], bool]:
    """In place of MD5: whether a file is what the folder's file of that name is."""
    return lambda path, md5: Path(path).is_file() and Path(path).read_bytes() == (folder / Path(path).name).read_bytes()


def test_what_is_missing_is_downloaded_and_unpacked(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, for both splits; an archive that is there is unpacked without a download."""
    assert len(Cifar10(data_dir=str(tmp_path / "new")).load(LOAD).train) == 10
    assert (tmp_path / "new" / "cifar-10-python.tar.gz").is_file()
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "new" / "cifar-10-batches-py")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("downloaded again"))
    assert len(Cifar10(data_dir=str(tmp_path / "new")).load(LOAD).test) == 4


def test_a_damaged_file_is_never_opened(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle whose MD5 is wrong is brought again instead; where the archive holds no better one, that is told."""
    right = same_bytes_as(published / "cifar-10-batches-py")
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", right)
    batch = tmp_path / "data" / "cifar-10-batches-py" / "data_batch_3"
    shutil.copytree(published / batch.parent.name, batch.parent)
    batch.write_bytes(b"damaged")
    assert len(Cifar10(data_dir=str(tmp_path / "data")).load(LOAD).train) == 10
    assert batch.read_bytes() != b"damaged"
    shutil.rmtree(tmp_path / "cache")
    (published / batch.parent.name / batch.name).write_bytes(b"other than in the archive")
    monkeypatch.setattr(torchvision.datasets.cifar.pickle, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: holds other files than cifar10 was published with"):
        Cifar10(data_dir=str(tmp_path / "data")).load(LOAD)


def test_a_full_disk_is_not_called_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(root: str, train: bool) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Cifar10, "published", replace(Cifar10.published, read=full))
    with pytest.raises(UserError, match=r"No space left on device\)\. Make room"):
        Cifar10().load(LOAD)


def wrong_file(root: Path) -> Path:
    (root / "cifar-10-python.tar.gz").touch()
    return root / "cifar-10-python.tar.gz"


def incomplete(root: Path) -> Path:
    (root / "cifar-10-batches-py").mkdir()
    (root / "cifar-10-batches-py" / "data_batch_1").touch()
    return root


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root / "no" / "such", ["no/such", "exists", "Correct --data-dir"]),
        (wrong_file, ["not a directory", "Give --data-dir the directory", "cifar-10-python.tar.gz"]),
        (incomplete, ["data_batch_2", "test_batch", "missing", "https://www.cs.toronto.edu"]),
    ],
    ids=["no parent", "a file", "incomplete"],
)
def test_a_directory_that_cannot_hold_the_data_is_refused(tmp_path: Path, make: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        Cifar10(data_dir=str(make(tmp_path))).check()
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_directory_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"not writable.*leave it out to download cifar10"):
        Cifar10(data_dir=str(tmp_path)).check()


def test_an_archive_put_there_by_hand_is_enough(tmp_path: Path) -> None:
    wrong_file(incomplete(tmp_path))
    assert Cifar10(data_dir=str(tmp_path)).check().train_images == 50_000


def test_image_size_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match="image_size = 2"):
        Stl10(image_size=2).check()
