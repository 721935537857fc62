"""One import name: a wheel and a checkout hold the same package, and nobody's `methods` or `bench` gets in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import ROOT

PLAN = ("--methods", "random", "--protocol", "knn", "--dry-run")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def start(home: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line of the package in ``home`` as the installed ``sslbench`` does, from the folder ``cwd``."""
    code = "import sys; sys.argv[0] = 'sslbench'; from sslbench.bench.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", str(home)]), "PYTHONSAFEPATH": "1"}
    environment |= {"SSLBENCH_CACHE": str(cwd / "cache")}
    words = ("-c", code, *words)
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_a_wheel_has_one_name_and_every_file(site: Path) -> None:
    """Only ``sslbench`` is installed, with each source file, each bundled encoder and each published table."""
    assert [path.name for path in site.iterdir() if not path.name.endswith(".dist-info")] == ["sslbench"]
    listed = subprocess.run(
        ["git", "ls-files", "bench", "methods", "protocols", "results/published"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert [path for path in listed.stdout.split() if not (site / "sslbench" / path).is_file()] == []


def test_a_wheel_plans(site: Path, tmp_path: Path) -> None:
    """The package finds its own plugins, encoders and published numbers when it is installed."""
    done = start(site, tmp_path, *PLAN)
    assert (done.returncode, "random" in done.stdout) == (0, True), done.stderr
    assert "rotnet" in start(site, tmp_path, "list").stdout


def test_a_wheel_can_be_started_as_a_module(site: Path, tmp_path: Path) -> None:
    """``python -m sslbench`` is the command line, and can write a new plugin from the templates in the wheel."""
    done = subprocess.run(
        [sys.executable, "-m", "sslbench", "new", "method", "my_idea"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python -m sslbench --methods my_idea,random --plugin my_idea.py" in done.stdout
    assert (tmp_path / "my_idea.py").is_file()


@pytest.mark.parametrize("where", ["wheel", "checkout without links"])
def test_a_folder_of_the_same_name_is_left_alone(site: Path, tmp_path: Path, where: str) -> None:
    """Packages called ``methods`` or ``bench`` in the user's folder neither crash a run nor are shadowed by ours."""
    home = site if where == "wheel" else tmp_path / "home"
    if where.endswith("links"):  # as git checks out where a file system has no links
        (home / "sslbench").mkdir(parents=True)
        (home / "sslbench" / "__init__.py").write_bytes((ROOT / "sslbench" / "__init__.py").read_bytes())
        for name in ("bench", "methods", "protocols", "results"):
            (home / "sslbench" / name).write_text(f"../{name}")
            (home / name).symlink_to(ROOT / name)
    for name in ("bench", "methods", "protocols", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "methods" / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())\n"
    )
    done = start(home, tmp_path, *PLAN, "--encoder-from", "methods.net:net", "--taps", "1")
    assert (done.returncode, done.stderr) == (0, "")
