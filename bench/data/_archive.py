"""Archives of picture files, unpacked once into the cache.

Archives are not trusted: members that would be written outside of the folder, links and devices are refused.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from ..errors import UserError, require
from ..progress import with_progress_bar
from ..storage.cache import cache_folder, file_lock
from ._content import hash_files, state_of
from ._store import cache_errors_as_user_errors, replace_folder

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
LARGEST = 64 * 2**30  # unpacked bytes: far above any data set that is distributed as one archive
DAMAGE_ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # raised by zipfile for an unknown compression or a missing password
)
NAME_ERRORS = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL)  # of members' names


def is_archive(path: Path) -> bool:
    """Whether the file's name ends like that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def archive_stem(path: Path) -> str:
    """An archive's name without its suffixes."""
    suffix = max((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def dataset_name(name: str | None, data_dir: str | None) -> str:
    """The data set's name in records: the given one, or that of its directory. Raises UserError for odd characters."""
    require(name is None or to_safe_name(name) == name, "name", name, "letters, digits, -, _ and .")
    return name or to_safe_name(archive_stem(Path(os.path.realpath(os.path.expanduser(data_dir or "")))))


def to_safe_name(name: str) -> str:
    """Replaces all characters that are unsafe in file names and tables."""
    return re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).strip("-.") or "folder"


def unpack_to_cache(archive: Path) -> Path:
    """The cache folder with the archive's content, unpacked there if it is not yet."""
    (content,) = hash_files(archive.parent, [archive.name], [state_of(archive.stat())], archive.name)
    target = cache_folder() / "unpacked" / f"{archive_stem(archive)[:60]}-{content[:16]}"
    if not target.is_dir():
        with cache_errors_as_user_errors(), file_lock(target):
            if not target.is_dir():
                with replace_folder(target) as folder:
                    unpack(archive, folder)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks an archive into a folder. Raises UserError if it is damaged or not safe."""
    members = _unzip if archive.name.lower().endswith(".zip") else _untar
    steps = with_progress_bar(
        members(archive, folder), f"Unpacking {archive.name}", archive.stat().st_size, size_of=int
    )
    with damage_as_user_error(archive):
        for _ in steps:
            pass


def _unzip(archive: Path, folder: Path) -> Iterator[int]:
    """Unpacks member by member; yields the bytes of the archive that each one occupies."""
    total = 0
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            total += member.file_size
            file_type = stat.S_IFMT(member.external_attr >> 16)
            _check_member(archive, member.filename, is_plain=file_type in (0, stat.S_IFREG, stat.S_IFDIR))
            _check_size(archive, total)
            member.filename = member.filename.replace("\\", "/")  # some programs write Windows' separators
            file.extract(member, folder)
            yield member.compress_size


def _untar(archive: Path, folder: Path) -> Iterator[int]:
    """Unpacks member by member; yields the bytes of the archive that each one occupies."""
    total = position = 0
    # As a stream: a compressed tar would be read twice if its members were listed first.
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|*") as file:
        for member in file:
            total += member.size
            _check_member(archive, member.name, is_plain=member.isreg() or member.isdir())
            _check_size(archive, total)
            file.extract(member, folder, filter="data")
            yield raw.tell() - position
            position = raw.tell()


def _check_member(archive: Path, name: str, *, is_plain: bool) -> None:
    """Raises UserError for a member that would be written outside of the folder, or is not a plain file or folder."""
    path = PureWindowsPath(name)  # understands all separators and drives
    if path.anchor or ".." in path.parts:
        raise UserError(
            f"{archive}: refused, because its member {name!r} would be written outside of its folder. "
            "Get the archive from a source that you trust."
        )
    if not is_plain:
        raise UserError(
            f"{archive}: refused, because its member {name!r} is a link or a device. "
            "Pack the files themselves, or unpack it yourself and give --data-dir the directory."
        )


def _check_size(archive: Path, total: int) -> None:
    if total > LARGEST:
        raise UserError(
            f"{archive}: refused, because it unpacks to more than {LARGEST / 2**30:g} GiB. "
            "Unpack it yourself and give --data-dir the directory."
        )


@contextmanager
def damage_as_user_error(archive: Path) -> Iterator[None]:
    """Raises a UserError for a damaged archive."""
    try:
        yield
    except (*DAMAGE_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, *NAME_ERRORS):
            raise
        raise UserError(
            f"{archive}: the archive cannot be unpacked ({error or type(error).__name__}). "
            "Get it again, or unpack it yourself and give --data-dir the directory."
        ) from error
