"""Generated tables of LICENSES.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslbench.bench.checkpoints.registry import Checkpoint
from sslbench.bench.report import licences

HEAD = "method,label,dataset,encoder,protocol,setting,tap,metric,value,source,reference,second_hand\n"


def test_published_numbers_are_counted_per_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources in one file and one in another are three rows, each with its number of numbers."""
    row = "rotnet,RotNet,CIFAR-10,NIN,linear,,conv2,accuracy,0.5,{source},https://example.org/{source},{reprint}\n"
    (tmp_path / "a.csv").write_text(HEAD + 2 * row.format(source="X", reprint="") + row.format(source="Y", reprint="Z"))
    (tmp_path / "b.csv").write_text(HEAD + row.format(source="X", reprint=""))
    monkeypatch.setattr(licences, "FOLDER", tmp_path)
    assert cells(licences.published_numbers())[1:] == [
        ["a.csv", "2", "X", "https://example.org/X", "the source itself"],
        ["a.csv", "1", "Y", "https://example.org/Y", "Z"],
        ["b.csv", "1", "X", "https://example.org/X", "the source itself"],
    ]


def test_bundled_encoders_are_listed_per_data_set_and_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods that were trained with the same data and encoder share a row."""
    files = [("synthetic", "vit", "mae"), ("synthetic", "convnet", "rotnet"), ("synthetic", "convnet", "moco")]
    manifest = {
        f"{number}": {"dataset": dataset, "encoder": encoder, "method": method}
        for number, (dataset, encoder, method) in enumerate(files)
    }
    monkeypatch.setattr(licences, "read_manifest", lambda: manifest)
    assert cells(licences.bundled_encoders())[1:] == [
        ["synthetic", "vit", "mae"],
        ["synthetic", "convnet", "moco, rotnet"],
    ]


def test_checkpoints_without_a_licence_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of one method, licence and source share a row; an unknown licence is never left blank."""
    found = [
        Checkpoint(token=f"moco@{name}", method="moco", name=name, kind="url", encoder="resnet50", url=url, **known)
        for name, url, known in (
            ("a", "https://one.example/a.pth", {"licence": "MIT", "source": "https://one.example"}),
            ("b", "https://one.example/b.pth", {"licence": "MIT", "source": "https://one.example"}),
            ("c", "hf:owner/repository/c.safetensors", {}),
        )
    ]
    monkeypatch.setattr(licences, "registered_checkpoints", lambda methods: found)
    assert cells(licences.registered_weights())[1:] == [
        ["moco", "a, b", "MIT", "one.example", "https://one.example"],
        ["moco", "c", "not stated", "hf:owner/repository/c.safetensors", "-"],
    ]


def test_a_stale_table_is_reported_and_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check returns 1 and changes nothing; without it the table is renewed, and the text around it stays."""
    file = tmp_path / "LICENSES.md"
    stale = "before\n<!-- made from published_numbers -->\nold\n<!-- end -->\nafter\n"
    file.write_text(stale)
    monkeypatch.setattr(licences, "FILE", file)
    monkeypatch.setitem(licences.TABLES, "published_numbers", lambda: "| new |")
    monkeypatch.setattr("sys.argv", ["licences", "--check"])
    assert (licences.main(), file.read_text()) == (1, stale)
    assert capsys.readouterr().err == "LICENSES.md is out of date; `make report` updates it.\n"
    monkeypatch.setattr("sys.argv", ["licences"])
    assert (licences.main(), file.read_text()) == (0, stale.replace("old", "| new |"))
    monkeypatch.setattr("sys.argv", ["licences", "--check"])
    assert licences.main() == 0


def cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table, the head first."""
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith("-")]
