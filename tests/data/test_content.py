"""Tests of content hashes: every byte of every file counts, and unchanged files are not read again."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from sslbench.bench.data import _content, _info
from sslbench.bench.data._content import hash_files, state_of
from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import save_grey_picture

NO_NEEDS: frozenset[str] = frozenset()


@pytest.fixture
def many_pets(tmp_path: Path) -> Path:
    """Two classes of 70 uncompressed pictures of equal length per split, more than any sample."""
    root = tmp_path / "many"
    for split in ("train", "test"):
        for k in range(70):
            save_grey_picture(root / split / "cat" / f"{k:02}.bmp", k)
            save_grey_picture(root / split / "dog" / f"{k:02}.bmp", 100 + k + (split == "test"))
    return root


def change_in_place(path: Path) -> None:
    """Changes the last byte of a file and keeps its length and its time of modification."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 255]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "tif"])
@pytest.mark.parametrize("name", ["train/cat/01", "test/dog/68", "train/dog/33"])
def test_a_change_of_any_picture_changes_the_identity(many_pets: Path, suffix: str, name: str) -> None:
    """Also with the same length and time, and the images that are loaded change with it."""
    for path in list(many_pets.rglob("*.bmp")):
        save_grey_picture(path.with_suffix(f".{suffix}"), int(path.stem))
        if suffix != "bmp":
            path.unlink()
    first = Folder(data_dir=str(many_pets))
    before = first.load(NO_NEEDS)
    change_in_place(many_pets / f"{name}.{suffix}")
    second = Folder(data_dir=str(many_pets))
    after = second.load(NO_NEEDS)
    assert second.check().identity != first.check().identity
    changed = [
        int((old.images[:] != new.images[:]).flatten(1).any(1).sum())
        for old, new in ((before.train, after.train), (before.test, after.test))
    ]
    assert sum(changed) == 1


def settle(root: Path) -> None:
    """Waits until the files are older than the time within which two edits may leave the same times."""
    time.sleep(_content.TIME_GRAIN / 1e9 + 0.1)


def test_a_second_look_reads_only_what_may_have_changed(many_pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a file is kept with its size, times and inode."""
    monkeypatch.setattr(_content, "TIME_GRAIN", 10**8)
    settle(many_pets)
    read: list[Path] = []
    original = _content.file_hash
    monkeypatch.setattr(_content, "file_hash", lambda path: read.append(path) or original(path))
    first = Folder(data_dir=str(many_pets)).check()
    assert len(read) == 280
    read.clear()
    assert Folder(data_dir=str(many_pets)).check() == first
    assert read == []
    change_in_place(many_pets / "train" / "cat" / "07.bmp")
    assert Folder(data_dir=str(many_pets)).check().identity != first.identity
    assert [path.name for path in read] == ["07.bmp"]


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    """Two edits in one tick of the clock leave the same times, so hashes of fresh files are not kept."""
    file = tmp_path / "fresh.bin"
    for content in (b"a", b"b", b"c"):
        file.write_bytes(content)
        state = state_of(file.stat())
        first = hash_files(tmp_path, ["fresh.bin"], [state])
        file.write_bytes(b"x")
        assert hash_files(tmp_path, ["fresh.bin"], [state]) != first


@pytest.mark.parametrize("damage", [b"", b"rubbish\n{}", b"\x00" * 100])
def test_a_damaged_hash_file_is_made_again(
    many_pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """It holds a checksum of its own."""
    monkeypatch.setattr(_content, "TIME_GRAIN", -(10**12))
    first = Folder(data_dir=str(many_pets)).check()
    for file in (cache / "hashes").iterdir():
        file.write_bytes(damage)
    assert Folder(data_dir=str(many_pets)).check() == first


def test_a_cache_that_cannot_be_written_costs_only_time(many_pets: Path, cache: Path) -> None:
    """The files are then hashed at each look."""
    cache.mkdir()
    (cache / "hashes").write_bytes(b"a file where the folder should be")
    first = Folder(data_dir=str(many_pets)).check()
    assert Folder(data_dir=str(many_pets)).check() == first


def test_records_of_the_same_pictures_are_still_found(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier name of an identity is used for exactly the pictures that it was given to."""
    identity = Folder(data_dir=str(pets)).check().identity
    monkeypatch.setitem(_info.MEASURED_AS, identity, "old")
    assert Folder(data_dir=str(pets)).check().identity == "old"
    change_in_place(pets / "train" / "cat" / "0.png")
    assert Folder(data_dir=str(pets)).check().identity not in ("old", identity)


def test_a_picture_that_changes_while_it_is_read_is_reported(pets: Path) -> None:
    """Otherwise the cache would hold other pixels than the identity says."""
    source = Folder(data_dir=str(pets))
    source.check()
    save_grey_picture(pets / "train" / "cat" / "1.png", 9)
    with pytest.raises(UserError, match=r"cat/1\.png: was changed while .* Run the same command again"):
        source.load(NO_NEEDS)


def test_stored_labels_follow_the_classes(pets: Path) -> None:
    """A new train class moves the numbers of the others; labels of the unchanged test split must move too."""
    assert Folder(data_dir=str(pets)).load(NO_NEEDS).test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    shutil.copytree(pets / "train" / "dog", pets / "train" / "ant")
    assert Folder(data_dir=str(pets)).load(NO_NEEDS).test.labels.tolist() == [1, 1, 1, 2, 2, 2]
