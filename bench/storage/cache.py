"""Where prepared data is kept between runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder that SSLBENCH_CACHE names, or else this user's cache folder."""
    named = os.environ.get("SSLBENCH_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("sslbench")


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """One process at a time prepares a target; the others wait and then find it."""
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        yield
