"""Lists picture files below a folder, follows links, and counts what is left out."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ._content import FileState, state_of
from ._pictures import SUFFIXES

LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})  # written by operating systems
DEAD_LINK = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass
class LeftOut:
    """What stands among the pictures and is not read."""

    suffixes: Counter[str] = field(default_factory=Counter)  # of files that are no pictures
    dead_links: list[str] = field(default_factory=list)  # paths of links that lead nowhere
    circles: list[str] = field(default_factory=list)  # paths of links to a folder that contains them
    outside: list[str] = field(default_factory=list)  # pictures that are in no class folder

    def add_file(self, name: str) -> None:
        """Counts a file that is no picture."""
        self.suffixes[os.path.splitext(name)[1].lower() or name] += 1

    def sentences(self) -> Iterator[str]:
        """One sentence per kind, with numbers and names."""
        if self.suffixes:
            counts = ", ".join(f"{count:,} {suffix}" for suffix, count in self.suffixes.most_common(6))
            more = ", …" if len(self.suffixes) > 6 else ""
            yield f"files that are not read as pictures are left out: {counts}{more}. Convert pictures to PNG."
        if self.circles:
            yield f"{name_several('linked folder', self.circles)} left out, because the link leads back to itself."
        if self.outside:
            yield f"{name_several('picture', self.outside)} left out, because no class folder contains it."
        if self.dead_links:
            yield f"{name_several('link', self.dead_links)} left out, because nothing is there."


def iter_pictures(
    where: Path | str, prefix: str, left_out: LeftOut, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, FileState]]:
    """Path and state of every picture in a folder and its subfolders, linked ones included.

    ``above`` holds device and inode of the folders that contain this one: a link to one of them would never end.
    """
    here = os.stat(where)
    if (here.st_dev, here.st_ino) in above:
        left_out.circles.append(prefix)
        return
    above |= {(here.st_dev, here.st_ino)}
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name[0] == "." or entry.name in LITTER:
                continue
            path = f"{prefix}/{entry.name}"
            status = follow(entry)
            if status is None:
                left_out.dead_links.append(path)
            elif stat.S_ISDIR(status.st_mode):
                yield from iter_pictures(entry.path, path, left_out, above)
            elif is_picture(entry.name) and stat.S_ISREG(status.st_mode):
                yield path, state_of(status)
            else:
                left_out.add_file(entry.name)


def follow(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The status of the file or folder that an entry leads to; None for a link that leads nowhere or to itself."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in DEAD_LINK:
            return None
        raise


def is_picture(name: str) -> bool:
    """Whether a file's name ends like that of a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def subfolders(where: Path) -> list[str]:
    """Sorted names of the folders inside, without hidden ones and the one that macOS adds to archives.

    Raises UserError for a link that leads nowhere, because it may have been a folder of pictures.
    """
    with os.scandir(where) as entries:
        found = [(e.name, follow(e)) for e in entries if e.name[0] != "." and e.name not in LITTER]
    if dead := sorted(name for name, status in found if status is None):
        raise UserError(f"{where / dead[0]}: a link that leads nowhere. Fix or remove it.")
    return sorted(name for name, status in found if status and stat.S_ISDIR(status.st_mode))


def loose_files(where: Path) -> list[str]:
    """Sorted names of the files that are directly in a folder."""
    with os.scandir(where) as entries:
        return sorted(e.name for e in entries if e.name[0] != "." and e.name not in LITTER and e.is_file())


def count_loose_pictures(where: Path) -> str:
    """The number of pictures that are directly in a folder, for messages: "1 picture"; "" for none."""
    count = sum(map(is_picture, loose_files(where)))
    return f"{count:,} picture{'s' * (count > 1)}" if count else ""


def folders_above(where: Path) -> frozenset[tuple[int, int]]:
    """Device and inode of a folder and of all that contain it."""
    real = Path(os.path.realpath(where))
    return frozenset((status.st_dev, status.st_ino) for status in map(os.stat, (real, *real.parents)))


def named_folders(where: Path) -> dict[str, str]:
    """The folders inside by their names in composed Unicode (NFC), so that names that look the same are the same.

    Raises UserError for two folders whose names look the same.
    """
    folders: dict[str, str] = {}
    for name in subfolders(where):
        if (composed := compose(name)) in folders:
            raise UserError(
                f"{where}: two folders have names that look the same, {composed!r}: one in composed and one in "
                "decomposed Unicode. Merge them, or rename one."
            )
        folders[composed] = name
    return dict(sorted(folders.items()))


def compose(text: str) -> str:
    """The text in composed Unicode (NFC): file systems differ in the form that they keep."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def name_several(what: str, names: Sequence[str]) -> str:
    """The start of a sentence about names: "class 'a' is", "classes 'a', 'b', 'c' and 3 more are"."""
    if len(names) == 1:
        return f"{what} {names[0]!r} is"
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{plural} {', '.join(map(repr, names[:3]))}{more} are"


@contextmanager
def permission_as_user_error(where: Path) -> Iterator[None]:
    """Raises a UserError for a file or folder that may not be read."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{error.filename or where}: permission denied. "
            f"Make it readable (chmod -R u+rX {where}) or correct --data-dir."
        ) from error
