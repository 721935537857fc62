"""Names in records that come from elsewhere: they are text in tables, pages and spreadsheets, and never a path."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.records import store as records
from tests.records.builders import accuracy_record

pytestmark = pytest.mark.slow

NAMES = [
    "../../outside",
    "/outside",
    "=HYPERLINK(1)",
    "+1",
    "@SUM(A1)",
    "\t=1",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\\input{secret}",
    "a & b % c # d $ e _ f { g }",
    "a|b`c`*d*",
    "a\nb",
    "\u202ereversed",
    "\x1b[31mred",
    "x" * 300,
]
LATEX_COMMANDS = r"\\(input|include|write|def|catcode)\b"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose records each name is once the method, the encoder, the data set and the preset."""
    folder = tmp_path_factory.mktemp("hostile") / "inner" / "results"
    for part in ("method", "encoder", "dataset", "preset"):
        for number, name in enumerate(NAMES):
            cell = {"method": "rotnet", part: name, "seed": number}
            record = accuracy_record("rotnet", 0, 0.5, 0.6, cell=cell)
            records.write(folder / "records", record)
    assert main(["report", "--results", str(folder), "--html"]) == 0
    return folder


def test_every_record_is_stored_and_reported(reported: Path) -> None:
    """None is lost, and no file is outside of the folder."""
    found, damaged = records.read_all(reported / "records")
    assert damaged == []
    assert len({record.key for record in found}) == len(list((reported / "records").glob("*.json")))
    outside = [path for path in reported.parents[1].rglob("*") if path.is_file() and reported not in path.parents]
    assert outside == []
    assert all(len(os.fsencode(path.name)) <= 255 for path in reported.rglob("*"))


def test_no_cell_of_a_spreadsheet_is_a_formula(reported: Path) -> None:
    """Spreadsheets take a cell for a formula if it begins with one of these signs."""
    cells = [
        cell
        for file in reported.rglob("*.csv")
        for row in csv.reader(file.read_text(encoding="utf-8").splitlines())
        for cell in row
    ]
    assert cells
    assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-(?![\d.])", cell)]


def test_no_name_is_markup(reported: Path) -> None:
    """Pages and tables in HTML show the name as text."""
    for file in reported.rglob("*.html"):
        text = re.sub(r"<script.*?</script>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_no_name_is_a_command_of_latex(reported: Path) -> None:
    """Special signs are escaped."""
    tables = list(reported.rglob("*.tex"))
    assert tables
    for file in tables:
        text = file.read_text(encoding="utf-8")
        assert not re.search(LATEX_COMMANDS, text)
        assert not re.search(r"a & b|(?<!\\)% c|(?<!\\)# d|(?<!\\)\$ e|(?<!\\)_ f", text)


def test_no_control_character_reaches_the_terminal(reported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by a table nor by a card, a comparison or an error."""
    for words in (
        ["report", "--results", str(reported)],
        ["report", "--results", str(reported), "--card", "no such cell"],
        ["compare", str(reported), str(reported)],
    ):
        main(words)
        printed = "".join(capsys.readouterr())
        assert "\x1b" not in printed, words
