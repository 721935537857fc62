"""Archives of pictures, unpacked once into the cache; nothing in them is trusted."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from ..errors import UserError, require
from ..storage.cache import cache_folder, locked
from ._pictures import watched
from ._store import cache_writes, replacing

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
LARGEST = 64 * 2**30  # bytes unpacked: far above any set that is handed around as one archive
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # zipfile's words for a compression or a password that it does not have
)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """An archive's name without its endings."""
    ending = max((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def name_of(name: str | None, data_dir: str | None) -> str:
    """What a data set is called in records: as it is told to be, or like its directory; raises UserError."""
    require(name is None or cleaned(name) == name, "name", name, "letters, digits, -, _ and .")
    return name or cleaned(stem(Path(data_dir or "").expanduser().resolve()))


def cleaned(name: str) -> str:
    """The name as it can stand in file names and tables."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "folder"


def unpacked(archive: Path) -> Path:
    """The folder in the cache that holds what is in the archive."""
    facts = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}|{facts.st_size}|{facts.st_mtime_ns}".encode()).hexdigest()[:16]
    target = cache_folder() / "unpacked" / f"{stem(archive)[:60]}-{key}"
    if not target.is_dir():
        archive.open("rb").close()  # forbidden to read: the caller's sentence, not the cache's
        with cache_writes(), locked(target):
            if not target.is_dir():
                with replacing(target) as folder:
                    unpack(archive, folder)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Puts what is in the archive into a folder; raises UserError where it is damaged, or not to be trusted."""
    members = _unzip if archive.name.lower().endswith(".zip") else _untar
    with undamaged(archive):
        for _ in watched(members(archive, folder), f"Unpacking {archive.name}", archive.stat().st_size, done=int):
            pass


def _unzip(archive: Path, folder: Path) -> Iterator[int]:
    """Unpacks member by member; yields the archive's bytes that each one took."""
    total = 0
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            total += member.file_size
            mode = member.external_attr >> 16
            _refuse(archive, member.filename, plain=not mode or stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR))
            _refuse_size(archive, total)
            file.extract(member, folder)
            yield member.compress_size


def _untar(archive: Path, folder: Path) -> Iterator[int]:
    """Unpacks member by member; yields the archive's bytes that each one took."""
    total = seen = 0
    # As a stream: a compressed tar would be read twice if its members were listed first.
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|*") as file:
        for member in file:
            total += member.size
            _refuse(archive, member.name, plain=member.isreg() or member.isdir())
            _refuse_size(archive, total)
            file.extract(member, folder, filter="data")
            yield raw.tell() - seen
            seen = raw.tell()


def _refuse(archive: Path, name: str, *, plain: bool) -> None:
    """UserError for a member that is, or would land, anywhere but inside."""
    path = PureWindowsPath(name)  # which knows all separators and drives
    if path.anchor or ".." in path.parts:
        raise UserError(
            f"{archive}: refused, because its member {name!r} would be written outside of its folder. "
            "Get the archive from a source that you trust."
        )
    if not plain:
        raise UserError(
            f"{archive}: refused, because its member {name!r} is a link or a device. "
            "Pack the files themselves, or unpack it yourself and give --data-dir the directory."
        )


def _refuse_size(archive: Path, total: int) -> None:
    if total > LARGEST:
        raise UserError(
            f"{archive}: refused, because it unpacks to more than {LARGEST / 2**30:g} GiB. "
            "Unpack it yourself and give --data-dir the directory."
        )


@contextmanager
def undamaged(archive: Path) -> Iterator[None]:
    """Turns what the unpackers say of a damaged archive into a sentence."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(
            f"{archive}: the archive cannot be unpacked ({error or type(error).__name__}). "
            "Get it again, or unpack it yourself and give --data-dir the directory."
        ) from error
