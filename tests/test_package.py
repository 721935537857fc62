"""One import name: a wheel and a checkout hold the same package, and nobody's `methods` or `bench` gets in the way."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import yaml

import sslbench
from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT

pytestmark = pytest.mark.slow  # it builds and installs; CI runs it on its own

PLAN = ("--methods", "random", "--protocol", "knn", "--dry-run")


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build(kind: str, source: Path, folder: Path) -> Path:
    """Builds the "sdist" or the "wheel" of the project in ``source``."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (file,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def site(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs; the wheel is built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", sources, folder)) as wheel:
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
    present = [path for path in listed.stdout.split() if (ROOT / path).is_file()]
    assert len(present) > 100
    assert [path for path in present if not (site / "sslbench" / path).is_file()] == []


def test_a_source_distribution_has_what_the_tests_need_and_nothing_of_this_machine(sources: Path) -> None:
    """It holds the tests, the tools' settings and every committed file that is read in them, and no caches."""
    for name in ("tests/test_package.py", "Makefile", "run_bench.py", "CHANGELOG.md", "results/README.md"):
        assert (sources / name).is_file(), name
    assert sum(1 for _ in (sources / "tests").rglob("test_*.py")) == sum(1 for _ in (ROOT / "tests").rglob("test_*.py"))
    hidden = {path.name for path in sources.iterdir() if path.name.startswith(".")}
    assert hidden <= {".ci", ".github", ".gitignore"}


def test_a_wheel_says_its_licence_version_and_extras(site: Path) -> None:
    """The licence files are in it, and its metadata are those of pyproject.toml."""
    (folder,) = site.glob("*.dist-info")
    metadata: Message = email.message_from_string((folder / "METADATA").read_text(encoding="utf-8"))
    assert (metadata["License-Expression"], metadata["Version"]) == ("MIT", sslbench.__version__)
    assert set(metadata.get_all("License-File", [])) == {"LICENSE", "LICENSES.md"}
    for name in ("LICENSE", "LICENSES.md"):
        assert (folder / "licenses" / name).read_bytes() == (ROOT / name).read_bytes()
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert (folder / "entry_points.txt").read_text(encoding="utf-8").split() == (
        ["[console_scripts]", "sslbench", "=", "sslbench.bench.cli:main"]
    )


def test_type_checkers_see_the_types_of_a_wheel(site: Path, tmp_path: Path) -> None:
    """A user's script is checked against the installed package: its one mistake is found, and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (path for path in (tmp_path / "venv").rglob("site-packages") if "lib64" not in path.parts)
    (packages / "sslbench").symlink_to(site / "sslbench")
    (tmp_path / "script.py").write_text(
        "from sslbench import Measurement, UserError, require\n\n"
        "number = Measurement(tap='conv5', metric='accuracy', value=0.5)\n"
        "share: float = number.value\n"
        "require(share, 'share', share, 'below 1')\n"
        "raise UserError(number.tap)\n"
    )
    interpreter = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    words = ["--strict", "--config-file=", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "--python-executable", str(interpreter), "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        'script.py:5: error: Argument 1 to "require" has incompatible type "float"; expected "bool"  [arg-type]',
        "Found 1 error in 1 file (checked 1 source file)",
    ]


def test_the_version_is_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version``, the package, the citation file and the newest entry of the changelog agree."""
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"sslbench {sslbench.__version__}\n")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (sslbench.__version__, PROJECT["license"])
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert newest.startswith(f"[{sslbench.__version__}]")


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
