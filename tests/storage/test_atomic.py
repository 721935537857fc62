"""Atomic writes, and the temporary files that killed processes leave."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sslbench.bench.errors import StorageError
from sslbench.bench.storage import atomic
from sslbench.bench.storage.atomic import atomic_write, remove_stale_files, temporary_path


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the file keeps its content, no other file is left, and the error is one line."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    atomic_write(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"file: cannot be written \(No space left on device\)"):
        atomic_write(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def part_of_ended_process(folder: Path) -> Path:
    """A temporary file of a process that has ended."""
    code = f"from sslbench.bench.storage.atomic import *; temporary_path(Path({str(folder / 'x')!r})).touch()"
    subprocess.run([sys.executable, "-c", code], check=True)
    (part,) = folder.glob(".x.*.part")
    return part


def test_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    """A file goes when its process has ended; one of a living process stays."""
    part = part_of_ended_process(tmp_path)
    mine = temporary_path(tmp_path / "x")
    mine.touch()
    remove_stale_files(tmp_path)
    assert not part.exists()
    assert mine.exists()


def test_files_of_other_machines_stay_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process numbers of another machine on a shared disk say nothing here."""
    part = part_of_ended_process(tmp_path)
    monkeypatch.setattr(atomic, "HOST", "00000000")
    remove_stale_files(tmp_path)
    assert part.exists()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    remove_stale_files(tmp_path)
    assert not part.exists()


@pytest.mark.parametrize("name", ["notes.part", "x.tmp", ".hidden", "result.json", ".download.zip.part"])
def test_files_of_others_stay(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names that this program gives its own temporary files are removed, however old they are."""
    (tmp_path / name).touch()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    remove_stale_files(tmp_path)
    assert (tmp_path / name).exists()


def test_a_missing_folder_is_nothing_to_clean_up(tmp_path: Path) -> None:
    """There is no error."""
    remove_stale_files(tmp_path / "nowhere")
