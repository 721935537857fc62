"""Tests of loading a tree of pictures: broken files, the cache, and large data sets that are read on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslbench.bench.data import _pictures, _splits
from sslbench.bench.data._pictures import LazyImages, decode_picture
from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import save_grey_picture

NO_NEEDS: frozenset[str] = frozenset()


def break_pictures(root: Path) -> None:
    """Makes one picture a text file, empties another and cuts a third in half."""
    (root / "train" / "cat" / "1.png").write_bytes(b"no picture")
    (root / "train" / "dog" / "0.png").write_bytes(b"")
    whole = (root / "test" / "cat" / "0.png").read_bytes()
    (root / "test" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("size", [16, 100])
def test_all_broken_pictures_are_reported_together(pets: Path, size: int) -> None:
    """Before any is needed, and again when the list of broken pictures comes from the cache."""
    break_pictures(pets)
    for _ in range(2):
        with pytest.raises(UserError) as error:
            Folder(data_dir=str(pets), image_size=size).load(NO_NEEDS)
        message = str(error.value)
        assert "3 pictures cannot be read" in message
        assert "--skip-unreadable" in message
        assert all(name in message for name in ("train/cat/1.png (not a picture)", "train/dog/0.png", "test/cat/0.png"))


@pytest.mark.parametrize("size", [16, 100])
def test_broken_pictures_are_skipped_with_their_labels(pets: Path, size: int) -> None:
    """For small decoded pictures, and for large ones that are read on demand."""
    break_pictures(pets)
    data = Folder(data_dir=str(pets), image_size=size, skip_unreadable=True).load(NO_NEEDS)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.images[:][:, 0, 0, 0].tolist() == [0, 2, 61, 62]
    assert len(data.test.images) == len(data.test.labels) == 5


def test_a_picture_that_cannot_be_opened_is_not_skipped(
    pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a disk or a permission fails for a moment, the picture must not be recorded as broken."""

    def forbidden(path: Path | str, size: int, *more: Any) -> np.ndarray[Any, Any]:
        raise PermissionError(13, "Permission denied", str(path))

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"0\.png: cannot be opened \(Permission denied\)"),
    ):
        patch.setattr(_pictures, "decode_picture", forbidden)
        Folder(data_dir=str(pets), skip_unreadable=True).load(NO_NEEDS)
    assert len(Folder(data_dir=str(pets)).load(NO_NEEDS).train) == 6


def test_a_class_without_a_readable_picture_is_refused(pets: Path) -> None:
    """Skipping broken pictures must not empty a class."""
    for path in (pets / "train" / "dog").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="'dog' is left without a readable picture"):
        Folder(data_dir=str(pets), skip_unreadable=True).load(NO_NEEDS)


@pytest.fixture
def decoded_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the pictures decoded so far."""
    paths: list[str] = []

    def counting_decoder(path: Path | str, size: int, *more: Any) -> np.ndarray[Any, Any]:
        paths.append(str(path))
        return decode_picture(path, size, *more)

    monkeypatch.setattr(_pictures, "decode_picture", counting_decoder)
    return paths


def test_small_pictures_are_decoded_once(pets: Path, decoded_paths: list[str]) -> None:
    """A second load reads the cache, which cannot be changed through the images."""
    first = Folder(data_dir=str(pets)).load(NO_NEEDS)
    assert len(decoded_paths) == 12
    second = Folder(data_dir=str(pets)).load(NO_NEEDS)
    assert len(decoded_paths) == 12
    assert torch.equal(first.train.images[:], second.train.images[:])
    second.train.images[:].zero_()  # a private copy: the cache does not change
    assert torch.equal(first.train.images[:], Folder(data_dir=str(pets)).load(NO_NEEDS).train.images[:])


def test_an_edited_picture_of_equal_length_is_decoded_again(pets: Path) -> None:
    """The cache entry depends on the time of the last change."""
    for path in pets.glob("t*/*/*.png"):
        save_grey_picture(path.with_suffix(".bmp"))
        path.unlink()
    source = Folder(data_dir=str(pets))
    before = source.load(NO_NEEDS).train.images[:]
    save_grey_picture(pets / "train" / "cat" / "1.bmp", 255)
    os.utime(pets / "train" / "cat" / "1.bmp", (1, 1))
    after = Folder(data_dir=str(pets)).load(NO_NEEDS).train.images[:]
    assert before[1].max() == 0
    assert after[1].min() == 255


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "overwritten": lambda content: b"rubbish",
    "zeros": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
}


@pytest.mark.parametrize("victim", ["images.npy", "labels.npy", "broken.json"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "deleted", "zeros"])
def test_a_damaged_cache_is_rebuilt(
    pets: Path, cache: Path, decoded_paths: list[str], victim: str, damage: str
) -> None:
    """Whichever file of the entry is cut, overwritten, deleted or filled with zeros."""
    first = Folder(data_dir=str(pets)).load(NO_NEEDS).train.images[:].clone()
    (entry,) = (cache / "pictures").glob("pets-train-*")
    content = (entry / victim).read_bytes()
    (entry / victim).unlink()
    if damage != "deleted":
        (entry / victim).write_bytes(DAMAGE[damage](content))
    second = Folder(data_dir=str(pets)).load(NO_NEEDS)
    assert len(decoded_paths) == 18  # the train split is decoded again
    assert torch.equal(first, second.train.images[:])
    assert second.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [path.name for path in (cache / "pictures").iterdir() if path.name[0] == "." and path.is_dir()] == []


def test_large_data_sets_are_read_on_demand(
    pets: Path, decoded_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken pictures are searched once; afterwards only requested pictures are decoded."""
    decoded = Folder(data_dir=str(pets)).load(NO_NEEDS).train.images[:]
    monkeypatch.setattr(_splits, "RESIDENT", 0)
    decoded_paths.clear()
    Folder(data_dir=str(pets)).load(NO_NEEDS)
    assert len(decoded_paths) == 12  # each is decoded once to find broken ones
    decoded_paths.clear()
    data = Folder(data_dir=str(pets)).load(NO_NEEDS)
    assert isinstance(data.train.images, LazyImages)
    Folder(data_dir=str(pets), image_size=100).load(NO_NEEDS)
    assert decoded_paths == []  # a picture that can be decoded can be decoded at any size
    assert torch.equal(data.train.images[torch.tensor([4, 1])], decoded[[4, 1]])
    assert len(decoded_paths) == 2


def test_a_picture_that_breaks_later_is_reported(pets: Path) -> None:
    """When it is requested; the others can still be read."""
    data = Folder(data_dir=str(pets), image_size=100).load(NO_NEEDS)
    break_pictures(pets)
    assert data.train.images[torch.tensor([0])].shape == (1, 3, 100, 100)
    with pytest.raises(UserError, match=r"cat/1.png \(not a picture\).*--skip-unreadable"):
        data.train.images[torch.tensor([1])]
