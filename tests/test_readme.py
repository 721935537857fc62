"""What the README says is so."""

import re
import shlex

import pytest

from sslbench.bench.checkpoints.resolve import find_registered
from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.report import readme

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("run_bench.py ", 1)[1].split("  #")[0]
    for block in re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if "run_bench.py " in line and "python run_bench.py …" not in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command, tmp_path, capsys):
    """Each command of the README parses and plans without an error (or lacks only data or files of the reader's)."""
    words = shlex.split(command)
    if words[0] in ("list", "report"):
        assert main(words[:2] if words[0] == "list" else ["list"]) == 0
        return
    if words[0] == "compare":
        assert main(["compare", *[str(ROOT / words[1])] * 2]) == 0
        return
    if words[0] == "fetch":
        assert all(find_registered(word, find_plugins("method")) for word in words[1:])
        return
    code = main([*words, "--dry-run", "--results", str(tmp_path)])
    error = capsys.readouterr().err
    assert code == 0 or re.search(r"pictures|sharpness\.py|spread\.py", error), error


def test_the_tree_names_what_is_there():
    """Every path of the README's tree exists, and every part of the engine has its phrase."""
    tree = TEXT.split("## The tree")[1].split("```")[1]
    listed, folder = set[str](), ""
    for line in tree.strip().splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        listed.add(folder + name if line.startswith(" ") else name)
    assert [path for path in listed if not (ROOT / path).exists()] == []
    parts = {f"bench/{p.name}{'/' * p.is_dir()}" for p in (ROOT / "bench").glob("[!_]*")}
    assert parts == {path for path in listed if path.startswith("bench/")} - {"bench/"}


def test_parts_are_filled_from_their_files(tmp_path, monkeypatch, capsys):
    """A part takes its file's contents; a stale one is told with exit code 1 and renewed on request."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "README.md").write_text("nothing\n")
    (tmp_path / "table.md").write_text("| a |\n")
    (tmp_path / "README.md").write_text("x\n<!-- from table.md -->\nold\n<!-- end -->\ny\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["readme", "--check"])
    assert readme.main() == 1
    assert "stale" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["readme"])
    assert readme.main() == 0
    assert (tmp_path / "README.md").read_text() == "x\n<!-- from table.md -->\n| a |\n<!-- end -->\ny\n"
    monkeypatch.setattr("sys.argv", ["readme", "--check"])
    assert readme.main() == 0


def test_what_the_readme_shows_exists():
    """Pictures and generated parts point at committed files."""
    for path in re.findall(r"!\[[^]]*\]\((\S+)\)", TEXT) + re.findall(r"<!-- from (\S+) -->", TEXT):
        assert (ROOT / path).is_file(), path
