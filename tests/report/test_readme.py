"""Generated parts of the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.report import readme


def test_parts_are_filled_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part gets its file's contents; --check reports one that is out of date with exit code 1."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "README.md").write_text("nothing\n")
    (tmp_path / "table.md").write_text("| a |\n")
    (tmp_path / "README.md").write_text("x\n<!-- from table.md -->\nold\n<!-- end -->\ny\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["readme", "--check"])
    assert readme.main() == 1
    assert "out of date" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["readme"])
    assert readme.main() == 0
    assert (tmp_path / "README.md").read_text() == "x\n<!-- from table.md -->\n| a |\n<!-- end -->\ny\n"
    monkeypatch.setattr("sys.argv", ["readme", "--check"])
    assert readme.main() == 0
