"""The command `new`: its files are working plugins, as the contract suites say, and so is the README's example."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import FOLDERS, ROOT
from tests.builders import write_readme_plugins

CONTRACTS = {  # suite -> the plugins that it must have tested
    "tests/methods/test_contract.py": {"my_method", "sharpness"},
    "tests/protocols/test_contract.py": {"my_protocol", "brightness"},
    "tests/encoders/test_encoders.py": {"my_encoder"},
    "tests/data/test_contract.py": {"my_dataset"},
    "tests/plugins/test_contract.py": {
        *("my_method", "my_protocol", "my_encoder", "my_dataset"),
        *("sharpness", "brightness"),
    },
}


def new_plugins(folder: Path) -> list[Path]:
    """A file of each kind from the templates."""
    files = [folder / f"my_{kind}.py" for kind in FOLDERS]
    for kind, file in zip(FOLDERS, files, strict=True):
        assert main(["new", kind, file.stem, "--out", str(folder)]) == 0
    return files


@pytest.mark.slow
def test_new_plugins_pass_the_contract_suites(tmp_path: Path) -> None:
    """Every contract test passes for the plugins of its kind, and none is skipped. So it is for the README's two."""
    readme = write_readme_plugins(tmp_path)
    options = [word for file in (*new_plugins(tmp_path), *readme) for word in ("--plugin", str(file))]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *CONTRACTS, "-n", "0", "-rA", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "SKIPPED" not in done.stdout, done.stdout
    tested: dict[str, set[str]] = {}
    for path, name in re.findall(r"^PASSED (\S+?)::\S+\[(?:\w+-)?(\w+)\]$", done.stdout, re.MULTILINE):
        tested.setdefault(path, set()).add(name)
    assert all(tested[path] >= names for path, names in CONTRACTS.items()), tested


def test_new_files_are_formatted(tmp_path: Path) -> None:
    """They pass this project's formatter and linter."""
    files = new_plugins(tmp_path)
    for words in (["format", "--check"], ["check"]):
        command = [sys.executable, "-m", "ruff", *words, "--config", str(ROOT / "pyproject.toml"), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", FOLDERS)
def test_it_prints_the_command_that_tries_the_file(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command plans without an error."""
    assert main(["new", kind, "my_idea", "--out", str(tmp_path)]) == 0
    first, command = capsys.readouterr().out.splitlines()
    assert first == f"wrote {tmp_path / 'my_idea.py'}; try it with"
    words = command.removeprefix("  python run_bench.py ").split()
    assert main([*words, "--dry-run", "--results", str(tmp_path / "results")]) == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["methd", "my_idea"], "unknown kind 'methd'. Did you mean 'method'?"),
        (["method", "moco"], "there is a method called 'moco' already"),
        (["protocol", "moco"], "there is a method called 'moco' already"),
        (["method", "MyIdea"], "'MyIdea' is not a valid name"),
        (["method", "class"], "'class' is not a valid name"),
        (["method", "recipe"], "'recipe' has another meaning"),
        (["encoder", "encoder"], "a class Encoder is used by every encoder"),
        (["method", "taken"], "taken.py: exists already"),
        (["method"], "NAME"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    words: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, and no file is written or changed."""
    (tmp_path / "taken.py").write_text("mine")
    assert main(["new", *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
