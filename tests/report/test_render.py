"""The report: which files are written, and when."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sslbench.bench.records import store
from sslbench.bench.records.record import from_json, to_json
from sslbench.bench.report.card import cell_card
from sslbench.bench.report.page.cells import cell_data
from sslbench.bench.report.render import Report, remove_outdated, write_report
from tests.records.builders import accuracy_record, damaged_versions, failed_record, full_record

RUNS = [accuracy_record(method, 0, value, 0.5) for method, value in (("rotnet", 0.7), ("jigsaw", 0.6), ("moco", 0.5))]


def test_a_report_of_failures_has_tables_without_figures(tmp_path: Path) -> None:
    """The table names each failure; there is nothing to draw."""
    made = write_report([failed_record("rotnet", 0, "out of memory")], folder=tmp_path)
    assert "rotnet      failed" in made.text
    assert "failed: rotnet, seed 0: out of memory" in made.text
    assert {path.suffix for path in made.files} == {".md", ".csv", ".tex", ".html"}


def test_no_records_make_an_empty_report(tmp_path: Path) -> None:
    """Without records there is no text and no file."""
    assert write_report([], folder=tmp_path) == Report()


def test_figures_are_drawn_once_and_reproducibly(tmp_path: Path) -> None:
    """The same records give the same bytes. An unchanged figure is not drawn again, a changed one is."""
    first = write_report(RUNS, folder=tmp_path / "a")
    again = write_report(RUNS, folder=tmp_path / "b", formats=("svg",))
    assert [path.suffix for path in first.files] == [".md", ".csv", ".tex", ".html", ".png", ".svg"]
    assert first.files[-1].read_bytes() == again.files[-1].read_bytes()
    stamps = [path.stat().st_mtime_ns for path in first.files]
    write_report(RUNS, folder=tmp_path / "a")
    assert [path.stat().st_mtime_ns for path in first.files] == stamps
    write_report(RUNS[1:], folder=tmp_path / "a", formats=("svg",))
    redrawn = [path.stat().st_mtime_ns > stamp for path, stamp in zip(first.files, stamps, strict=True)]
    assert redrawn == [False] * 5 + [True]


def test_two_thousand_records_are_tabulated_quickly(tmp_path: Path, benchmark: Any) -> None:
    """The folder of a year of work is read and tabulated; the benchmark says how fast."""
    for seed in range(200):
        for number in range(10):
            record = accuracy_record(f"method{number}", seed, 0.5 + number / 100, 0.5, kind="pretrained")
            path = tmp_path / f"{store.file_stem(record)}.json"
            path.write_text(json.dumps(to_json(record)))

    def read_and_tabulate() -> Report:
        return write_report(store.read_all(tmp_path)[0], folder=tmp_path / "out", formats=("md",))

    assert "method9" in benchmark.pedantic(read_and_tabulate, rounds=1).text


def test_no_damaged_value_breaks_a_report(tmp_path: Path) -> None:
    """Every record that can still be read after one of its values was replaced is reported with the others."""
    found = []
    for content in damaged_versions(to_json(full_record())):
        try:
            found.append(from_json(content | {"key": f"{len(found):016x}"}))
        except ValueError:
            continue
    assert len(found) > 100
    made = write_report([full_record(), *found], folder=tmp_path, formats=("csv",), whole=True)
    assert made.tables
    for record in found:
        assert cell_card(record)
    for table in made.tables:
        for record in table.records:
            json.dumps(cell_data(record, table), allow_nan=False)


def test_the_newest_record_of_a_cell_counts(tmp_path: Path) -> None:
    """A cell measured again under a new key replaces the older one, whatever the order of their files."""
    old, new = (
        replace(record, key=key, provenance=replace(record.provenance, created=f"2026-01-0{day}T00:00:00+00:00"))
        for record, key, day in (
            (accuracy_record("rotnet", 0, 0.55, 0.55), "f" * 16, 1),
            (accuracy_record("rotnet", 0, 0.65, 0.65), "0" * 16, 2),
        )
    )
    for records in ([old, new], [new, old]):
        made = write_report(records, folder=tmp_path, formats=())
        assert "65.0" in made.text
        assert "55.0" not in made.text
        assert made.text.count("superseded") == 1
        assert f"shapes-convnet-rotnet-linear-s0-{'f' * 16} (newer: {'0' * 16})" in made.text


def test_only_outdated_files_of_a_report_are_removed(tmp_path: Path) -> None:
    """Files that a report would have made and no longer makes go; any other file of the folder stays."""
    made = write_report(RUNS, folder=tmp_path, formats=("md", "svg"))
    outdated = [
        tmp_path / "figures" / "ranks-shapes-convnet-small-1a17ae.png",
        tmp_path / "tables" / "linear-shapes-convnet-small-aaaaaa.md",
        tmp_path / "figures" / "cost-linear-shapes-convnet-small-aaaaaa.svg",
    ]
    others = [
        tmp_path / "figures" / "map-shapes-convnet-small.png",
        tmp_path / "figures" / "show-rotnet.png",
        tmp_path / "tables" / "linear-my-notes.md",
        tmp_path / "tables" / "notes-shapes-convnet-small-aaaaaa.md",
        tmp_path / "tables" / "linear-shapes-convnet-small-aaaaaa.txt",
    ]
    for path in (*outdated, *others):
        path.write_text("x")
    assert set(remove_outdated(tmp_path, made.files, {"linear"})) == set(outdated)
    assert all(path.exists() for path in (*others, *made.files))
    assert not any(path.exists() for path in outdated)
