"""The tables that `run` and `report` print."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT
from tests.builders import run_quickly


def test_a_damaged_record_is_skipped(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A truncated record is skipped with its name and the reason; the others are reported."""
    (whole,) = (ROOT / "results" / "baseline" / "records").glob("*-random-knn-*.json")
    shutil.copytree(whole.parent, results / "records", ignore=lambda _, names: {n for n in names if "-knn-" not in n})
    damaged = next((results / "records").glob("*-moco-knn-*.json"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    assert main(["report", "--results", str(results)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(f"skipped: {damaged}: not whole JSON")
    assert printed.err.count("\n") == 1
    assert "random (floor)" in printed.out
    assert "moco" not in printed.out


def test_the_floor_of_one_preset_is_the_floor_of_another(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An untrained encoder has no budget: measured under one preset, it appears in the table of another."""
    assert (
        run_quickly(results, "--methods", "random", "--protocol", "knn", "--set", "knn.k=20", "--preset", "smoke") == 0
    )
    capsys.readouterr()
    assert (
        run_quickly(results, "--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20", "--preset", "small") == 0
    )
    assert "random (floor)" not in capsys.readouterr().out, "a run shows its own cells"
    assert main(["report", "--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert out.count("knn: accuracy") == 1
    assert "random (floor)" in out


def test_saved_tables_are_of_the_whole_folder(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``report --methods`` and a run of one method print that method and save the tables of all that the folder has."""
    shutil.copytree(ROOT / "results" / "baseline" / "records", results / "records")
    assert main(["report", "--results", str(results)]) == 0
    whole = {path: path.read_bytes() for folder in ("tables", "figures") for path in (results / folder).iterdir()}
    capsys.readouterr()
    orphan = results / "figures" / "ranks-synthetic-convnet-smoke-1a17ae.png"
    orphan.write_bytes(b"")
    assert main(["report", "--results", str(results), "--methods", "rotnet", "--html"]) == 0
    printed = capsys.readouterr().out
    assert "rotnet" in printed
    assert "moco" not in printed
    assert f"removed  {orphan}" in printed
    assert {
        path: path.read_bytes() for folder in ("tables", "figures") for path in (results / folder).iterdir()
    } == whole
    page = (results / "report-rotnet.html").read_text(encoding="utf-8")
    assert '"method":"rotnet"' in page
    assert '"method":"moco"' not in page  # in the page, its name stands only next to published numbers
