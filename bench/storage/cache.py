"""The cache folder, where prepared data is kept between runs, and locks on its files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from ..errors import UserError
from .atomic import remove_stale_files

VARIABLE = "SSLBENCH_CACHE"
FOLDERS = ("", "encoders", "features", "pictures")  # those in which a killed run may leave temporary files


def cache_folder() -> Path:
    """The folder named by the environment variable SSLBENCH_CACHE, or by default this user's cache folder.

    Raises UserError if the variable names a file or something inside a file.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return platformdirs.user_cache_path("sslbench")
    folder = Path(os.path.expanduser(named)).absolute()
    existing = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if not os.path.isdir(existing):
        raise UserError(f"{VARIABLE}={named}: {existing} is not a folder; set it to a folder that you may write to.")
    return folder


def remove_stale_cache_files() -> None:
    """Deletes the temporary files that killed runs left in the cache."""
    for name in FOLDERS:
        remove_stale_files(cache_folder() / name)


@contextmanager
def file_lock(target: Path) -> Iterator[None]:
    """Lets one process at a time prepare a file or folder; the others wait and then find it ready."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        yield
