"""What importing costs and needs: commands that plan or report answer at once, because nothing heavy is imported for
them, and every module can be imported on systems that lack what only POSIX has.

Who may import whom is import-linter's business; its layers are in pyproject.toml.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import ROOT

HEAVY = ("torch", "torchvision", "pandas", "timm", "seaborn", "jinja2")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "cli cli.listing cli.report api.request api.results api.run api.show "
            "plugins.discovery planning.build planning.jobs records.store",
            HEAVY,
        ),
        ("report.render report.compare report.comparison_formats report.card report.page report.plots", HEAVY[:2]),
    ],
)
def test_nothing_heavy_is_imported(modules: str, absent: tuple[str, ...]) -> None:
    """The command line, plans and records need none of the heavy packages; reports need no torch."""
    code = (
        f"import sys; from importlib import import_module\nfor name in {modules.split()!r}:\n"
        f"    import_module('sslbench.bench.' + name)\nassert not set({absent!r}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_exist() -> None:
    """Each public name can be imported from ``sslbench``, and the list for type checkers is the list for Python."""
    import inspect

    import sslbench

    typed = {
        alias.name
        for node in ast.walk(ast.parse(inspect.getsource(sslbench)))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert typed == set(sslbench.__all__) == {name for name in sslbench.__all__ if getattr(sslbench, name)}


POSIX_ONLY = (
    *("_curses", "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"),
)
HIDE = f"""
import importlib, os, pkgutil, signal, sys
import filelock, multiprocessing.context, platformdirs.unix, sklearn, timm, torch, torchvision  # they know the system
for name in {POSIX_ONLY}:
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "alarm", "setitimer", "pthread_kill"):
    delattr(signal, name)
for name in ("fork", "sched_getaffinity", "getuid", "geteuid", "getpgid", "killpg", "uname", "posix_fallocate"):
    delattr(os, name)
for part in ("sslbench.bench", "sslbench.methods", "sslbench.protocols"):
    for found in pkgutil.walk_packages(importlib.import_module(part).__path__, f"{{part}}."):
        importlib.import_module(found.name)
print(*sorted(name for name in sys.modules if name.startswith("sslbench.")))
from sslbench.bench.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_everything_runs_without_what_only_posix_has(tmp_path: Path) -> None:
    """Each module is imported and a cell is measured, with all that Windows lacks hidden."""
    words = ["--methods", "random", "--protocol", "knn", "--set", "knn.k=5", "--set", "synthetic.train=60"]
    words += ["--set", "synthetic.test=20", "--results", f"{tmp_path}/results"]
    done = subprocess.run([sys.executable, "-c", HIDE, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.partition("\n")[0].split())
    files = [path.relative_to(ROOT) for path in source_files() if path.relative_to(ROOT).parts[0] != "tests"]
    modules = {".".join(("sslbench", *file.with_suffix("").parts)).removesuffix(".__init__") for file in files}
    assert modules - imported == {"sslbench.run_bench", "sslbench.sslbench", "sslbench.sslbench.__main__"}


def test_no_file_imports_at_its_top_what_only_posix_has() -> None:
    """On Windows such a file could not even be imported, nor its tests be collected."""
    assert list(
        imports_at_the_top("def f():\n    import pwd\nif True:\n    from os import path\n    import tty, ast\n")
    ) == (["os", "tty", "ast"])
    found = {
        str(path.relative_to(ROOT)): names
        for path in source_files()
        if (names := set(POSIX_ONLY).intersection(imports_at_the_top(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def source_files() -> Iterator[Path]:
    """Every Python file of the project, tests too."""
    yield ROOT / "run_bench.py"
    for folder in ("bench", "methods", "protocols", "tests"):
        yield from (ROOT / folder).rglob("*.py")
    yield from (ROOT / "sslbench").glob("*.py")


def imports_at_the_top(source: str) -> Iterator[str]:
    """The modules that a file imports when it is imported itself, and not only in a function."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
