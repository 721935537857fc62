"""Output on terminals that lack characters, paths with special characters, and errors of plugins."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from tests.builders import QUICK_OPTIONS, run_quickly, write_method

KNN = ["--protocol", "knn", "--set", "knn.k=20"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("words", ["--help", "list", "list checkpoints", "list rotnet", "--methods rötnet–✓"])
def test_characters_that_the_terminal_lacks_are_replaced(
    words: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No output can fail because of its characters."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    try:
        code = main(words.split())
    except SystemExit as end:
        code = int(end.code or 0)
    for stream in streams.values():
        stream.flush()
    assert code == (2 if "rötnet" in words else 0)


@pytest.mark.slow
def test_tables_are_printed_in_ascii(results: Path) -> None:
    """Tables hold a plus-minus sign; with an ASCII terminal the run still ends well."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = [*("run_bench.py", "--methods", "random"), *KNN, *QUICK_OPTIONS, "--results", str(results)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    lines = done.stderr.decode("ascii").splitlines()
    assert lines[0].startswith("[1/1] random  knn  conv5 ")
    assert len(lines) == 2
    assert b" ? " in done.stdout


@pytest.mark.parametrize("name", ["a[1],b", "-x *", "100%s{0}", "ünï"])
def test_results_folders_may_have_any_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cell is measured once, reported and compared, whatever the folder is called."""
    folder = tmp_path / name
    assert run_quickly(folder, "--methods", "random", *KNN) == 0
    times = [path.stat().st_mtime_ns for path in (folder / "records").iterdir()]
    assert run_quickly(folder, "--methods", "random", *KNN) == 0
    assert [path.stat().st_mtime_ns for path in (folder / "records").iterdir()] == times
    assert main(["report", "--results", str(folder), "--html"]) == 0
    assert main(["compare", str(folder), str(folder)]) == 0
    capsys.readouterr()


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells expand it only at the beginning of a word, so not in --results=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    plugin = write_method(tmp_path, "tilde", "        pass")
    assert main(["--methods=tilde", f"--plugin=~/{Path(plugin).name}", *KNN, *QUICK_OPTIONS, "--results=~/r"]) == 0
    assert main(["report", "--results=~/r", "--html=~/page.html"]) == 0
    assert main(["compare", "~/r", "~/r", "--json=~/c.json"]) == 0
    assert {"r", "page.html", "c.json"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "~").exists()


def test_a_report_on_methods_without_records_is_a_mistake(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest method is named, and the exit code is 2."""
    assert run_quickly(results, "--methods", "random", *KNN) == 0
    capsys.readouterr()
    assert main(["report", "--results", str(results), "--methods", "randm"]) == 2
    assert "has no record of 'randm'. Did you mean 'random'?" in capsys.readouterr().err
    assert main(["report", "--results", str(results), "--methods", ","]) == 2
    assert main(["report", "--results", str(results), "--methods", "random"]) == 0


def test_kinds_and_the_recipe_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`list methods` shows one kind alone; `list recipe` shows its settings and the presets."""
    for kind, name, other in (
        ("methods", "rotnet", "convnet"),
        ("protocols", "linear", "rotnet"),
        ("encoders", "convnet", "linear"),
        ("datasets", "synthetic", "convnet"),
    ):
        assert main(["list", kind]) == 0
        printed = capsys.readouterr().out
        assert f"  {name} " in printed
        assert f"  {other} " not in printed
    assert main(["list", "recipe"]) == 0
    printed = capsys.readouterr().out
    assert "--set recipe.batch_size=128  (int, at least 2)" in printed
    assert "smoke: views=4000" in printed
    assert main(["list", "recipes"]) == 2
    assert "Did you mean 'recipe'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "4"},
        {"WORLD_SIZE": "many", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": ""},
    ],
)
def test_variables_left_over_from_torchrun_are_a_mistake(
    variables: dict[str, str], results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that waits for others which nobody started would wait for ever."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run_quickly(results, "--methods", "random", *KNN) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "unset WORLD_SIZE" in printed


def test_an_error_of_a_plugin_shows_its_file_and_line(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its author needs the place; the record has the whole way through the file."""
    file = write_method(tmp_path, "faulty", "        {}['gone']")
    line = Path(file).read_text().splitlines().index("        {}['gone']") + 1
    words = ["--plugin", file, "--methods", "faulty,random", *KNN]
    assert run_quickly(results, *words) == 1
    assert f"failed: faulty: KeyError: 'gone' ({file}:{line}, in loss)\n" in capsys.readouterr().err
    found = {record.cell.method: record for record in records.read_all(results / "records")[0]}
    assert found["faulty"].traceback == (f"{file}:{line}, in loss: {{}}['gone']",)
    assert found["random"].traceback is None
    with pytest.raises(KeyError, match="gone"):
        run_quickly(results, *words, "--debug")


@pytest.mark.parametrize("place", ["        self.x = 1 / 0", "        raise ValueError('two\\nlines')"])
def test_an_error_while_a_plugin_is_built_is_one_line_before_any_work(
    place: str, tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other methods are not measured either, since the author will want to repair it first."""
    file = Path(write_method(tmp_path, "early", "        pass"))
    text = file.read_text().replace("        self.head =", f"{place}\n        self.head =")
    file.write_text(text)
    assert run_quickly(results, "--plugin", str(file), "--methods", "early,random", *KNN) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"{file}:{text.splitlines().index(place) + 1}, in __init__" in printed
    assert not results.exists()
