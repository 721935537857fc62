"""Tests of data sets that torchvision reads: with and without files, with and without a network."""

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

from sslbench.bench.data._downloadable import DownloadableSource
from sslbench.bench.data.cifar10 import Cifar10
from sslbench.bench.data.cifar100 import Cifar100
from sslbench.bench.data.stl10 import Stl10
from sslbench.bench.errors import UserError
from sslbench.bench.storage import download

NO_NEEDS: frozenset[str] = frozenset()
REAL_URLOPEN = urllib.request.urlopen
ALL = [Cifar10, Cifar100, Stl10]


@pytest.fixture(autouse=True)
def no_retry_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requested addresses; every request fails."""
    requested: list[str] = []

    def fail(request: urllib.request.Request, timeout: float) -> None:
        requested.append(request.full_url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    return requested


@pytest.fixture
def tiny_cifar10(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 has as few pictures as ``save_tiny_cifar10`` saves."""
    monkeypatch.setattr(Cifar10, "dataset", replace(Cifar10.dataset, train_images=10, test_images=4))


def save_tiny_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Saves 10 train and 4 test pictures in the files of CIFAR-10; returns the train pictures (10, 3, 32, 32)."""
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        count = 4 if name == "test_batch" else 2
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        batches.append(pixels.reshape(-1, 3, 32, 32))
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(count))}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(Cifar10.dataset.classes)}))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: Path(path).is_file())
    return np.concatenate(batches[:5])


@pytest.mark.parametrize("source", ALL)
def test_urls_and_files_are_those_of_torchvision(source: type[DownloadableSource]) -> None:
    """Addresses, folders and files are written here a second time, and must not differ."""
    dataset, theirs = source.dataset, getattr(torchvision.datasets, source.__name__.upper())
    assert (dataset.url, dataset.folder, dataset.archive) == (theirs.url, theirs.base_folder, theirs.filename)
    files = {name for name, _ in theirs.train_list + theirs.test_list}
    assert files <= set(dataset.files)


@pytest.mark.parametrize("source", ALL)
def test_check_needs_neither_files_nor_network(source: type[DownloadableSource], downloads: list[str]) -> None:
    """The identity depends on the image size."""
    info = source().check()
    assert len(set(info.classes)) == len(info.classes) == (100 if info.name == "cifar100" else 10)
    assert info.identity == source().check().identity
    assert info.identity != source(image_size=64).check().identity
    assert downloads == []


def test_identities_differ_between_data_sets() -> None:
    """Each data set has an identity of its own."""
    assert len({source().check().identity for source in ALL}) == 3


@pytest.mark.usefixtures("tiny_cifar10")
@pytest.mark.parametrize("inside", [False, True], ids=["directory", "folder in it"])
def test_pictures_and_labels_are_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """``data_dir`` may be the folder of the files or the directory that contains it."""
    pixels = save_tiny_cifar10(tmp_path / "data", monkeypatch)
    where = tmp_path / "data" / ("cifar-10-batches-py" if inside else "")
    data = Cifar10(data_dir=str(where)).load(NO_NEEDS)
    assert torch.equal(data.train.images[:], torch.from_numpy(pixels))
    assert data.train.labels.tolist() == [0, 1] * 5
    assert data.train.labels.dtype == torch.int64
    assert data.test.labels.tolist() == [0, 1, 2, 3]
    assert data.image_size == 32
    assert data.name == "cifar10"


@pytest.mark.usefixtures("tiny_cifar10")
def test_pictures_are_resized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second load reads the cache."""
    pixels = save_tiny_cifar10(tmp_path / "data", monkeypatch)
    source = Cifar10(data_dir=str(tmp_path / "data"), image_size=16)
    images = source.load(NO_NEEDS).train.images[:]
    assert images.shape == (10, 3, 16, 16)
    means = torch.from_numpy(pixels).float().mean((2, 3)) - images.float().mean((2, 3))
    assert means.abs().max() < 5
    monkeypatch.setattr(
        Cifar10, "dataset", replace(Cifar10.dataset, read=lambda root, train: pytest.fail("read again"))
    )
    assert torch.equal(source.load(NO_NEEDS).train.images[:], images)


def test_stl10_is_upright_with_labels_from_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files hold columns first, and labels from 1 to 10."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for split in ("train", "test"):
        pixels.transpose(0, 1, 3, 2).tofile(folder / f"{split}_X.bin")
        np.array([1, 10, 5], np.uint8).tofile(folder / f"{split}_y.bin")
    (folder / "unlabeled_X.bin").touch()
    monkeypatch.setattr(torchvision.datasets.stl10, "check_integrity", lambda path, md5: Path(path).is_file())
    monkeypatch.setattr(Stl10, "dataset", replace(Stl10.dataset, train_images=3, test_images=3))
    data = Stl10(data_dir=str(tmp_path)).load(NO_NEEDS)
    assert torch.equal(data.train.images[:], torch.from_numpy(pixels))
    assert data.test.labels.tolist() == [0, 9, 4]


@pytest.mark.parametrize("source", ALL)
def test_without_a_network_the_message_names_the_file_to_download(
    source: type[DownloadableSource], cache: Path, downloads: list[str]
) -> None:
    """And the directory for it."""
    with pytest.raises(UserError) as error:
        source().load(NO_NEEDS)
    dataset, message = source.dataset, str(error.value)
    assert "no route to host" in message
    assert f"Download {dataset.url} by hand" in message
    assert f"put {dataset.archive} into {cache / 'datasets'}" in message
    assert downloads == [dataset.url]


@pytest.fixture
def server(tiny_cifar10: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An address at which a tiny CIFAR-10 can be downloaded; the folder with the same files."""
    save_tiny_cifar10(tmp_path / "published", monkeypatch)
    archive = tmp_path / "published" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "published" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(Cifar10, "dataset", replace(Cifar10.dataset, url=archive.as_uri()))
    monkeypatch.setattr(urllib.request, "urlopen", REAL_URLOPEN)
    return tmp_path / "published"


def same_bytes_as(folder: Path) -> Callable[[str, str], bool]:
    """Replaces the check of the MD5: whether a file equals the folder's file of the same name."""
    return lambda path, md5: Path(path).is_file() and Path(path).read_bytes() == (folder / Path(path).name).read_bytes()


def test_missing_files_are_downloaded_and_unpacked(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for both splits; an existing archive is unpacked without a download."""
    assert len(Cifar10(data_dir=str(tmp_path / "new")).load(NO_NEEDS).train) == 10
    assert (tmp_path / "new" / "cifar-10-python.tar.gz").is_file()
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "new" / "cifar-10-batches-py")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("downloaded again"))
    assert len(Cifar10(data_dir=str(tmp_path / "new")).load(NO_NEEDS).test) == 4


def test_a_damaged_file_is_never_opened(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle with a wrong MD5 is restored from the archive; if that does not help, an error says so."""
    check = same_bytes_as(server / "cifar-10-batches-py")
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", check)
    batch = tmp_path / "data" / "cifar-10-batches-py" / "data_batch_3"
    shutil.copytree(server / batch.parent.name, batch.parent)
    batch.write_bytes(b"damaged")
    assert len(Cifar10(data_dir=str(tmp_path / "data")).load(NO_NEEDS).train) == 10
    assert batch.read_bytes() != b"damaged"
    shutil.rmtree(tmp_path / "cache")
    (server / batch.parent.name / batch.name).write_bytes(b"not as in the archive")
    monkeypatch.setattr(torchvision.datasets.cifar.pickle, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz: holds other files than cifar10 was published with"):
        Cifar10(data_dir=str(tmp_path / "data")).load(NO_NEEDS)


def test_a_full_disk_is_not_reported_as_a_network_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message keeps the reason of the operating system."""

    def full(root: str, train: bool) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Cifar10, "dataset", replace(Cifar10.dataset, read=full))
    with pytest.raises(UserError, match=r"No space left on device\)\. Free some space"):
        Cifar10().load(NO_NEEDS)


def empty_archive(root: Path) -> Path:
    """A file with the name of the archive."""
    (root / "cifar-10-python.tar.gz").touch()
    return root / "cifar-10-python.tar.gz"


def incomplete_folder(root: Path) -> Path:
    """A folder that lacks most files."""
    (root / "cifar-10-batches-py").mkdir()
    (root / "cifar-10-batches-py" / "data_batch_1").touch()
    return root


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root / "no" / "such", ["no/such", "exists", "Correct --data-dir"]),
        (empty_archive, ["not a directory", "Give --data-dir the directory", "cifar-10-python.tar.gz"]),
        (incomplete_folder, ["data_batch_2", "test_batch", "missing", "https://www.cs.toronto.edu"]),
    ],
    ids=["no parent", "a file", "incomplete"],
)
def test_a_directory_that_cannot_hold_the_data_is_refused(tmp_path: Path, make: Any, words: list[str]) -> None:
    """The message says what is wrong and what to do."""
    with pytest.raises(UserError) as error:
        Cifar10(data_dir=str(make(tmp_path))).check()
    assert [word for word in words if word not in str(error.value)] == []


def test_a_directory_that_is_not_writable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the files would have to be downloaded into it."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"not writable.*leave it out to download cifar10"):
        Cifar10(data_dir=str(tmp_path)).check()


def test_an_archive_downloaded_by_hand_is_enough(tmp_path: Path) -> None:
    """An incomplete folder does not matter then."""
    empty_archive(incomplete_folder(tmp_path))
    assert Cifar10(data_dir=str(tmp_path)).check().train_images == 50_000


def test_image_size_out_of_range_is_refused() -> None:
    """The message names the setting."""
    with pytest.raises(UserError, match="image_size = 2"):
        Stl10(image_size=2).check()
