"""Where prepared data is kept between runs."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The folder that SSLBENCH_CACHE names, or else this user's cache folder."""
    named = os.environ.get("SSLBENCH_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("sslbench")
