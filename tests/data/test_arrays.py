"""Tests of arrays in the cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslbench.bench.data._arrays import load_or_make_array


def test_two_simultaneous_writers_succeed(cache: Path) -> None:
    """Both get the array, and one complete file remains."""
    barrier = Barrier(2)

    def fill(out: NDArray[Any]) -> None:
        out[:5] = 7
        barrier.wait(10)
        out[5:] = 7

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(load_or_make_array, cache / "x.npy", (10,), np.dtype(np.uint8), fill) for _ in range(2)]
    assert [run.result().tolist() for run in runs] == [[7] * 10] * 2
    assert [file.name for file in cache.iterdir()] == ["x.npy"]
