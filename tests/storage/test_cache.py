"""The cache folder: what SSLBENCH_CACHE may name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.errors import UserError
from sslbench.bench.storage.cache import cache_folder, remove_stale_cache_files
from tests.builders import run_quickly


@pytest.mark.parametrize(("named", "expected"), [("~/x", "{home}/x"), ("x/y", "{here}/x/y"), ("{here}/a", "{here}/a")])
def test_the_variable_names_a_folder(
    named: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tilde is the home folder, and a relative path is one of the working directory; the folder need not exist."""
    places = {"home": tmp_path / "home", "here": tmp_path}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(places["home"]))
    monkeypatch.setenv("SSLBENCH_CACHE", named.format(**places))
    assert cache_folder() == Path(expected.format(**places))


@pytest.mark.parametrize("named", ["/dev/null", "{here}/file", "{here}/file/cache", "{here}/loop/cache"])
def test_a_file_is_refused(
    named: str,
    tmp_path: Path,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file, or something inside one, is a mistake of one line, and nothing is written."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("SSLBENCH_CACHE", named.format(here=tmp_path))
    with pytest.raises(UserError, match="SSLBENCH_CACHE"):
        cache_folder()
    assert run_quickly(results, "--methods", "random") == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"SSLBENCH_CACHE={named.format(here=tmp_path)}" in printed
    assert not results.exists()


def test_an_unusable_cache_does_not_matter_to_commands_that_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`list` works without a cache."""
    monkeypatch.setenv("SSLBENCH_CACHE", "/dev/null")
    assert main(["list"]) == 0


def test_stale_files_are_removed_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files of killed runs go, entries and downloads that can be resumed stay."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "time", lambda: 4e9)
    stale = ["prefix-ab12cd_9.part", "features/0123456789abcdef01234567.42.tmp", "encoders/.x.partial.77-0123abcd.part"]
    kept = ["prefix.npy", "features/0123456789abcdef01234567.npy", "encoders/x.partial", "checkpoints/.net.pth.part"]
    for name in (*stale, *kept):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    remove_stale_cache_files()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
