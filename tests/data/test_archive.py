"""Tests of archives: the same data as from a folder, and no trust in their content."""

from __future__ import annotations

import io
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


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_too_large_is_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The limit applies to the unpacked size."""
    archive = shutil.make_archive(str(tmp_path / "big"), kind, pets)
    monkeypatch.setattr(_archive, "LARGEST", 100)
    with pytest.raises(UserError, match=r"big.*more than .* GiB.*Unpack it yourself"):
        Folder(data_dir=archive).check()
