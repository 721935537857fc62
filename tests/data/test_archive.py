"""Tests of archives: the same data as from a folder, and no trust in their content."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sslbench.bench.data import _archive
from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import save_grey_picture


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar"])
def test_an_archive_gives_the_same_data_as_a_folder(pets: Path, tmp_path: Path, kind: str, wrapped: bool) -> None:
    """The identity is that of the folder, the name that of the archive; both layouts of archives work."""
    inside = {"root_dir": pets.parent, "base_dir": "pets"} if wrapped else {"root_dir": pets}
    archive = shutil.make_archive(str(tmp_path / "cifar10-jpeg"), kind, **inside)
    info = Folder(data_dir=archive).check()
    assert info.name == "cifar10-jpeg"
    assert info.identity == Folder(data_dir=str(pets)).check().identity
    assert Folder(data_dir=archive).load(frozenset()).train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_an_archive_is_unpacked_once(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second check finds the unpacked files in the cache."""
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", pets)
    before = Folder(data_dir=archive).check()
    monkeypatch.setattr(_archive, "_unzip", None)
    assert Folder(data_dir=archive).check() == before


def test_an_archive_that_changes_in_place_is_unpacked_again(pets: Path, tmp_path: Path) -> None:
    """Also with the same length and time of modification."""
    for k, grey in ((3, 7), (4, 8)):
        save_grey_picture(pets / "train" / "cat" / f"{k}.bmp", grey)
    archive = Path(shutil.make_archive(str(tmp_path / "pets"), "tar", pets))
    before = Folder(data_dir=str(archive)).check()
    status, content = archive.stat(), archive.read_bytes()
    old, new = (pets / "train" / "cat" / f"{k}.bmp" for k in (3, 4))
    archive.write_bytes(content.replace(old.read_bytes(), new.read_bytes()))
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert archive.stat().st_size == status.st_size
    assert Folder(data_dir=str(archive)).check().identity != before.identity


def test_the_same_archive_elsewhere_is_not_unpacked_again(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content decides, not its place."""
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", pets)
    before = Folder(data_dir=archive).check()
    (tmp_path / "moved").mkdir()
    moved = shutil.move(archive, tmp_path / "moved")
    monkeypatch.setattr(_archive, "_unzip", None)
    assert Folder(data_dir=str(moved)).check() == before


def tar_with(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    """A compressed tar archive with one member."""
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 0 if link else 3
        file.addfile(member, io.BytesIO(b"abc"))
    return path


def zip_with(path: Path, name: str, mode: int = 0) -> Path:
    """A zip archive with one member."""
    with zipfile.ZipFile(path, "w") as file:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        file.writestr(member, b"abc")
    return path


ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tar up": (lambda d: tar_with(d / "a.tar.gz", "../../evil"), "outside"),
    "tar absolute": (lambda d: tar_with(d / "a.tar.gz", "/evil"), "outside"),
    "tar symlink": (lambda d: tar_with(d / "a.tar.gz", "evil", tarfile.SYMTYPE, "/etc"), "link"),
    "tar hard link": (lambda d: tar_with(d / "a.tar.gz", "evil", tarfile.LNKTYPE, "/etc/passwd"), "link"),
    "zip up": (lambda d: zip_with(d / "a.zip", "train/../../evil"), "outside"),
    "zip backslash": (lambda d: zip_with(d / "a.zip", "..\\evil"), "outside"),
    "zip symlink": (lambda d: zip_with(d / "a.zip", "evil", stat.S_IFLNK | 0o777), "link"),
}


@pytest.mark.parametrize(("make", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_unsafe_archive_is_refused(tmp_path: Path, cache: Path, make: Callable[[Path], Path], reason: str) -> None:
    """Nothing is written outside of the cache, and nothing remains in it."""
    archive = make(tmp_path)
    with pytest.raises(UserError, match=f"refused.*evil.*{reason}"):
        Folder(data_dir=str(archive)).check()
    assert not list(tmp_path.rglob("evil"))
    assert [p for p in (cache / "unpacked").iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize("name", ["train/cat", "train/cat/0.png/x.png", "x" * 300])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_whose_names_exclude_each_other_are_reported(pets: Path, tmp_path: Path, kind: str, name: str) -> None:
    """The archive is at fault, not the cache."""
    archive = Path(shutil.make_archive(str(tmp_path / "odd"), kind, pets))
    if kind == "zip":
        with zipfile.ZipFile(archive, "a") as file:
            file.writestr(name, b"abc")
    else:
        with tarfile.open(archive, "a") as file:
            member = tarfile.TarInfo(name)
            member.size = 3
            file.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(UserError, match=r"odd\.\w+: the archive cannot be unpacked \(.*Get it again"):
        Folder(data_dir=str(archive)).check()


def test_a_zip_with_the_separators_of_windows_is_read(pets: Path, tmp_path: Path) -> None:
    """Its members are in folders."""
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        for path in pets.rglob("*.png"):
            member = zipfile.ZipInfo("x")
            member.filename = str(path.relative_to(pets)).replace("/", "\\")
            file.writestr(member, path.read_bytes())
    assert Folder(data_dir=str(tmp_path / "pets.zip")).check().train_images == 6


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_too_large_is_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The limit applies to the unpacked size."""
    archive = shutil.make_archive(str(tmp_path / "big"), kind, pets)
    monkeypatch.setattr(_archive, "LARGEST", 100)
    with pytest.raises(UserError, match=r"big.*more than .* GiB.*Unpack it yourself"):
        Folder(data_dir=archive).check()
