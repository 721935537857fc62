"""Data that tests of several methods share."""

from __future__ import annotations

import pytest

from sslbench.bench.data import Split
from sslbench.bench.data.synthetic import Synthetic


@pytest.fixture(scope="session")
def film(session_cache: None) -> Split:
    """40 clips with the masks of their objects."""
    return Synthetic(train=400, test=10).load(frozenset({"clips", "clip_masks"})).train
