"""Tests of arrays in the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from sslbench.bench.data._arrays import Piece, load_or_make_array
from sslbench.bench.storage.atomic import remove_stale_files


def test_two_simultaneous_writers_succeed(cache: Path) -> None:
    """Both get the array, and one complete file remains."""
    barrier = Barrier(2)

    def pieces() -> Iterator[Piece]:
        yield range(5), np.full(5, 7)
        barrier.wait(10)
        yield range(5, 10), np.full(5, 7)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(load_or_make_array, cache / "x.npy", (10,), np.dtype(np.uint8), pieces) for _ in range(2)]
    assert [run.result().tolist() for run in runs] == [[7] * 10] * 2
    assert [file.name for file in cache.iterdir()] == ["x.npy"]


def test_what_a_killed_process_leaves_is_removed_by_the_next_run(cache: Path) -> None:
    """The name of the unfinished file says which process wrote it; without an end of that process it stays."""
    kill = (
        "import os, sys\nimport numpy as np\nfrom pathlib import Path\n"
        "from sslbench.bench.data._arrays import load_or_make_array\n"
        "load_or_make_array(Path(sys.argv[1]), (9,), np.dtype(np.uint8), lambda: os.kill(os.getpid(), 9))"
    )
    subprocess.run([sys.executable, "-c", kill, str(cache / "x.npy")], check=False)
    assert len(list(cache.glob(".x.npy.*.part"))) == 1

    def pieces() -> Iterator[Piece]:
        remove_stale_files(cache)
        assert len(list(cache.glob(".x.npy.*.part"))) == 1, "that of this process"
        yield range(9), np.zeros(9)

    load_or_make_array(cache / "x.npy", (9,), np.dtype(np.uint8), pieces)
    assert [file.name for file in cache.iterdir()] == ["x.npy"]


def tens() -> Iterator[Piece]:
    """Ten values in two pieces, out of order."""
    yield [9, 1, 3, 5, 7], np.array([9, 1, 3, 5, 7])
    yield np.array([0, 2, 4, 6, 8]), np.array([0, 2, 4, 6, 8])


def test_pieces_may_come_in_any_order(cache: Path) -> None:
    """Each value is at its index, and a second call reads the file."""
    for _ in range(2):
        array = load_or_make_array(cache / "x.npy", (10,), np.dtype(np.float32), tens)
        assert array.tolist() == list(range(10))


def test_files_have_the_usual_permissions(cache: Path) -> None:
    """Others may read them if they may read other new files."""
    load_or_make_array(cache / "x.npy", (10,), np.dtype(np.uint8), tens)
    (cache / "usual").write_bytes(b"x")
    assert (cache / "x.npy").stat().st_mode == (cache / "usual").stat().st_mode


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting needs rights that this user lacks")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("train", [20, 30, 400])
def test_a_full_disk_is_reported(small_disk: Path, train: int) -> None:
    """In one line instead of a signal that kills the process; nothing is left behind."""
    code = (
        "import sys; from sslbench.bench.data.synthetic import Synthetic; from sslbench.bench.errors import UserError\n"
        f"try: Synthetic(train={train}, test=20).load(frozenset())\n"
        "except UserError as error: sys.exit(str(error))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"SSLBENCH_CACHE": str(small_disk)},
    )
    assert run.returncode == 1
    assert "small cannot be written (No space left on device). Free some space" in run.stderr
    assert not list(small_disk.glob(".*"))
