"""Continuous integration and the container: their files are well formed, and what they name exists.

They run on machines that these tests do not have, so a renamed target or file would go unnoticed.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sslbench.bench.plugins.discovery import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSIONS = re.findall(r":: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def steps_of(path: Path) -> list[dict[str, Any]]:
    """Every step of every job."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def missing_parts(command: str) -> list[str]:
    """The words of a shell line that name a make target, file, module or extra that does not exist."""
    words = shlex.split(re.sub(r"\$\{\{.*?\}\}", "1", command))
    missing = []
    if words[0] == "make":
        missing += [word for word in words[1:] if not re.search(rf"^{re.escape(word)}:", MAKEFILE, re.MULTILINE)]
    if words[:3] == ["python", "-m", "pip"]:
        extras = {extra for word in words for extras in re.findall(r"\[(.*)\]", word) for extra in extras.split(",")}
        missing += sorted(extras - PROJECT["project"]["optional-dependencies"].keys())
    elif words[:2] == ["python", "-m"] and words[2] != "pytest":
        missing += [] if (ROOT / f"{words[2].replace('.', '/')}.py").is_file() else [words[2]]
    paths = [word for word in words if "/" in word and not word.startswith(("http", "results/local", "./"))]
    return missing + [word for word in paths if not (ROOT / word).exists()]


def test_missing_parts_are_found() -> None:
    """The check itself can fail: one good and one bad example of each kind."""
    assert missing_parts("make check nothing") == ["nothing"]
    assert missing_parts("python -m pip install -e '.[test,nothing]'") == ["nothing"]
    assert [missing_parts(f"python -m tests.{name}") for name in ("gate", "nothing")] == [[], ["tests.nothing"]]
    assert [missing_parts(f".ci/{name}") for name in ("run", "nothing")] == [[], [".ci/nothing"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_only_what_exists(path: Path) -> None:
    """Each step either uses an action of a pinned major version, or runs commands whose parts are in the repository."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["name"] == path.stem
    assert content["permissions"]["contents"] == "read"
    for step in steps_of(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
        else:
            assert [part for line in step["run"].splitlines() for part in missing_parts(line)] == []


def test_every_supported_python_is_tested() -> None:
    """The matrix is the list of versions in pyproject.toml, and each job and the container use one of them."""
    assert VERSIONS[0] == PROJECT["project"]["requires-python"].removeprefix(">=")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == VERSIONS
    assert jobs["other-systems"]["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    inputs = [step.get("with", {}) for path in WORKFLOWS for step in steps_of(path)]
    used = {given["python-version"] for given in inputs if "python-version" in given}
    assert used - {"${{ matrix.python }}"} <= {*VERSIONS}
    (base,) = re.findall(r"^FROM .*python:(\S+)-slim$", container_text(), re.MULTILINE)
    assert base in VERSIONS


def test_the_gate_comments_what_it_writes() -> None:
    """The comment's file is the one that `make gate` writes."""
    from tests.gate import RESULTS

    commands = "\n".join(step.get("run", "") for step in steps_of(ROOT / ".github" / "workflows" / "gate.yml"))
    written = (RESULTS / "gate.md").relative_to(ROOT).as_posix()
    assert f"--body-file {written} " in commands
    assert f"cat {written} >>" in commands


def test_the_container_copies_what_the_wheel_is_built_from() -> None:
    """Every copied path exists, and every file that the build reads is below one of them."""
    copied = [word for line in re.findall(r"^COPY (.*)$", container_text(), re.MULTILINE) for word in line.split()[:-1]]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    project, hatch = PROJECT["project"], PROJECT["tool"]["hatch"]
    needed = ["pyproject.toml", project["readme"], *project["license-files"], hatch["version"]["path"]]
    needed += hatch["build"]["targets"]["wheel"]["only-include"]
    assert [path for path in needed if not any(Path(path).is_relative_to(folder) for folder in copied)] == []


def container_text() -> str:
    """The Containerfile."""
    return (ROOT / "Containerfile").read_text(encoding="utf-8")
