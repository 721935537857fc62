"""Completion in the shell: what comes next in a line, and that nothing is measured while the shell asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import ROOT
from tests.builders import write_method

pytest.importorskip("argcomplete")

ASK = """
import os, sys
from sslbench.bench.cli import main
for number, line in enumerate(sys.argv[2:]):
    os.environ |= {"_ARGCOMPLETE": sys.argv[1], "COMP_LINE": line, "COMP_POINT": str(len(line)),
                   "_ARGCOMPLETE_STDOUT_FILENAME": f"answer{number}", "_ARGCOMPLETE_IFS": "\\n"}
    try:
        main([])
    except SystemExit as end:
        assert not end.code
    else:
        raise AssertionError(f"{line!r} was run")
"""

PROGRAM = "from sslbench.bench.cli import main\nraise SystemExit(main())\n"

EXPECTED: dict[str, tuple[set[str], set[str]]] = {  # a line -> words among the answers, and words that are not
    "": ({"list", "report", "run", "show", "--methods", "--preset"}, {"moco"}),
    "re": ({"report "}, {"run"}),
    "lis": ({"list "}, {"--methods"}),
    "--protoc": ({"--protocol", "--protocols"}, {"list"}),
    "--methods ro": ({"rotnet "}, {"moco"}),
    "--methods moco,ro": ({"moco,rotnet "}, {"rotnet"}),
    "--methods moco,moco": ({"moco,mocov2", "moco,mocov3"}, {"moco,moco"}),
    "--methods moco@v2": ({"moco@v2_200ep", "moco@v2_800ep"}, {"moco@v1_200ep"}),
    "--methods moco --protocol k": ({"knn "}, {"linear"}),
    "--methods moco --protocol knn,l": ({"knn,linear "}, {"linear"}),
    "--methods moco --encoder res": ({"resnet18", "resnet50"}, {"convnet"}),
    "--methods moco --dataset ci": ({"cifar10", "cifar100"}, {"stl10"}),
    "--methods moco --preset s": ({"smoke", "small"}, {"paper"}),
    "--methods moco --precision ": ({"auto", "fp32", "bf16"}, set()),
    "--methods moco --set mo": ({"moco.", "mocov2."}, {"rotnet.", "moco.dim="}),
    "--methods moco --set moco.": ({"moco.temperature=", "moco.negatives="}, {"linear.head="}),
    "--methods moco --set rotn": ({"rotnet.angles="}, {"rotnet."}),
    "--methods moco --set recipe.opt": ({"recipe.optimiser="}, {"recipe.views="}),
    "list mo": ({"moco", "mocov2", "mocov3"}, {"rotnet", "more"}),
    "list checkpoints --lin": ({"--linear-above "}, {"--knn-above"}),
    "list checkpoints --encoder ni": ({"nin "}, set()),
    "fetch moco@v2_8": ({"moco@v2_800ep "}, {"moco@v2_200ep"}),
    "show rot": ({"rotnet "}, {"moco"}),
    "show rotnet --se": ({"--seeds", "--set"}, {"--methods"}),
    "new me": ({"method "}, {"protocol"}),
    "report --ht": ({"--html "}, {"--methods"}),
    "pretrain --methods simc": ({"simclr "}, {"simsiam"}),
    "pretrain --bun": ({"--bundle "}, set()),
}


def answers(folder: Path, lines: list[str], program: str, first_word: int) -> list[set[str]]:
    """What the shell is offered after each line, asked in one process of its own."""
    words = [sys.executable, "-c", ASK, str(first_word), *(f"{program} {line}" for line in lines)]
    paths = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = [folder / f"answer{number}" for number in range(len(lines))]
    return [set(file.read_text().split("\n")) if file.exists() else set() for file in files]


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The answers to all lines of EXPECTED."""
    folder = tmp_path_factory.mktemp("lines")
    return dict(zip(EXPECTED, answers(folder, list(EXPECTED), "sslbench", 1), strict=True))


@pytest.mark.parametrize("line", EXPECTED)
def test_a_line_can_go_on_with(line: str, offered: dict[str, set[str]]) -> None:
    """Commands first, then options and the names that they take; one word that is left ends with a space."""
    among, not_among = EXPECTED[line]
    assert among <= offered[line]
    assert not not_among & offered[line]


@pytest.mark.parametrize(("program", "first_word"), [("python run_bench.py", 2), ("python -m sslbench", 3)])
def test_each_way_to_start_the_program_completes(program: str, first_word: int, tmp_path: Path) -> None:
    """The words before the first one of the command line are not part of it; files of --plugin are read."""
    plugin = write_method(tmp_path, "mine", "        pass")
    lines = ["list rotn", "--methods rotn", f"--plugin {plugin} --methods min", f"--plugin {plugin} --set mine."]
    found = answers(tmp_path, lines, program, first_word)
    assert found == [{"rotnet "}, {"rotnet "}, {"mine "}, {"mine.size="}]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    """The function that argcomplete registers with bash starts the script and gets its answer."""
    script = tmp_path / "sslbench"
    script.write_text(f"#!{sys.executable}\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n{PROGRAM}")
    script.chmod(0o755)
    lines = (
        'eval "$(%s -m argcomplete.scripts.register_python_argcomplete %s)"',
        'COMP_LINE="%s list rotn"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_WORDS=(%s list rotn); COMP_CWORD=2',
        '_python_argcomplete %s; printf "%%s" "${COMPREPLY[*]}"',
    )
    text = "\n".join(lines) % (sys.executable, *[script] * 4)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "rotnet", done.stderr


def test_the_marker_is_where_argcomplete_looks() -> None:
    """Completion of all Python programs starts those alone whose file says so in its first 1,024 characters."""
    for file in ("run_bench.py", "sslbench/__main__.py", "bench/cli/__init__.py"):
        assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / file).read_text(encoding="utf-8")[:1024]


def test_without_argcomplete_nothing_changes(tmp_path: Path) -> None:
    """Then the variables of the shell have no effect, and nothing fails on import."""
    code = (
        "import sys\nsys.modules['argcomplete'] = None\nfrom sslbench.bench.cli import main\nmain(['list', 'recipe'])"
    )
    environment = os.environ | {"_ARGCOMPLETE": "1", "COMP_LINE": "sslbench list m", "COMP_POINT": "15"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("recipe")
