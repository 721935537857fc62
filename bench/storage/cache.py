"""The cache folder, where prepared data is kept between runs, and locks on its files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder named by the environment variable SSLBENCH_CACHE, or by default this user's cache folder."""
    named = os.environ.get("SSLBENCH_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("sslbench")


@contextmanager
def file_lock(target: Path) -> Iterator[None]:
    """Lets one process at a time prepare a file or folder; the others wait and then find it ready."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        yield
