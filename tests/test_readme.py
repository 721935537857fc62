"""What the README says is true."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import sslbench
from sslbench.bench.api.request import make_request
from sslbench.bench.checkpoints.resolve import find_registered
from sslbench.bench.cli import main
from sslbench.bench.planning.build import build_plan
from sslbench.bench.plugins.discovery import ROOT, find_plugins, plugin_in_file
from tests.builders import run_quickly, save_grey_picture, write_readme_plugins

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("run_bench.py ", 1)[1].split("  #")[0]
    for block in re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if "run_bench.py " in line and "python run_bench.py …" not in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the README plans without an error, unless the reader's own data or files are missing."""
    words = shlex.split(command)
    if words[0] in ("list", "report"):
        assert main(words[:2] if words[0] == "list" else ["list"]) == 0
        return
    if words[0] == "status":
        assert main([*words, "--results", str(tmp_path)]) == 1
        return
    if words[0] == "compare":
        assert main(["compare", *[str(ROOT / words[1])] * 2]) == 0
        return
    if words[0] == "fetch":
        assert all(find_registered(word, find_plugins("method")) for word in words[1:])
        return
    if words[0] == "new":
        assert main([*words, "--out", str(tmp_path)]) == 0
        return
    code = main([*words, "--dry-run", "--results", str(tmp_path)])
    error = capsys.readouterr().err
    assert code == 0 or re.search(r"pictures|sharpness\.py|brightness\.py", error), error


def test_the_tree_is_complete() -> None:
    """Every path of the README's tree exists, and every part of the engine has a line in it."""
    tree = TEXT.split("## The tree")[1].split("```")[1]
    listed, folder = set[str](), ""
    for line in tree.strip().splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        listed.add(folder + name if line.startswith(" ") else name)
    assert [path for path in listed if not (ROOT / path).exists()] == []
    parts = {f"bench/{p.name}{'/' * p.is_dir()}" for p in (ROOT / "bench").glob("[!_]*")}
    assert parts == {path for path in listed if path.startswith("bench/")} - {"bench/"}


def test_its_plugins_run_as_printed(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example method and protocol, copied out of the README, run from outside the repository."""
    files = write_readme_plugins(tmp_path)
    assert {plugin_in_file(str(file)).kind for file in files} == {"method", "protocol"}
    plugins = [word for file in files for word in ("--plugin", str(file))]
    words = ["--methods", "sharpness,random", "--protocol", "brightness", "--set", "sharpness.radius=2"]
    assert run_quickly(results, *plugins, *words) == 0
    out = capsys.readouterr().out
    assert "grey_error (grey levels), lower is better" in out
    assert "sharpness" in out


def test_its_python_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the Python interface; its run is planned, and the baseline's results stand for those of it."""
    (code,) = re.findall(r"```python\nimport sslbench\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "results" / "baseline" / "records", tmp_path / "results" / "baseline" / "records")
    for name in "ab":
        save_grey_picture(tmp_path / f"{name}.png", size=(40, 50))

    def plan(methods: list[str], **options: Any) -> sslbench.Results:
        assert {job.name for job in build_plan(make_request({"methods": methods, **options})).jobs} == {*methods}
        return sslbench.load("results/baseline")

    monkeypatch.setattr(sslbench, "run", plan)
    found: dict[str, Any] = {"sslbench": sslbench}
    exec(code, found)
    assert {"rotnet", "moco"} < set(found["frame"].method)
    assert found["figure"].axes
    assert found["features"].shape == (2, found["encoder"].dim) == (2, 256)


def test_what_the_readme_shows_exists() -> None:
    """Pictures and generated parts point at files."""
    for path in re.findall(r"!\[[^]]*\]\((\S+)\)", TEXT) + re.findall(r"<!-- from (\S+) -->", TEXT):
        assert (ROOT / path).is_file(), path
