"""Commands: what they print and write, how they end, and what they import."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.checkpoints import store
from sslbench.bench.cli import COMMANDS_WITHOUT_A_PLAN, main
from sslbench.bench.cli.options import DESCRIPTIONS
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from sslbench.bench.run import runner
from tests.builders import run_quickly, write_method


def test_a_run_prints_and_saves_tables_and_measures_once(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command prints the tables and names its files; the same command measures nothing and prints the same."""
    assert run_quickly(results, "--methods", "random,rotnet", "--protocol", "linear,knn", "--set", "knn.k=20") == 0
    first = capsys.readouterr().out
    assert "random (floor)" in first
    assert "rotnet" in first
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds == {".json", ".npz", ".webp", ".md", ".csv", ".tex", ".html", ".png", ".svg"}
    for path in re.findall(r"^(?:tables|figures) +(\S+)$", first, re.MULTILINE):
        assert Path(path).is_file()

    monkeypatch.setattr(runner, "measure_missing", None)
    assert run_quickly(results, "--methods", "random,rotnet", "--protocol", "linear,knn", "--set", "knn.k=20") == 0
    assert capsys.readouterr().out == first


def test_an_interrupted_pretraining_resumes_bit_for_bit(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during pretraining exits with 130; the same command resumes, and the weights are those of one run."""
    words = ["--protocol", "knn", "--set", "knn.k=20"]
    stop = "        if self.step == 6 and os.environ.get('STOP'): os.kill(os.getpid(), signal.SIGINT)"
    words = ["--plugin", write_method(tmp_path, "pausing", stop), "--methods", "pausing", *words]
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "never"))
    assert run_quickly(results, *words) == 0
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "stopped"))
    monkeypatch.setenv("STOP", "1")
    assert run_quickly(results, *words, "--overwrite") == 130
    message = "All finished measurements are saved. Run the same command to resume."
    assert message in capsys.readouterr().err
    assert list((tmp_path / "stopped" / "encoders").glob("*.partial"))
    monkeypatch.delenv("STOP")
    assert run_quickly(results, *words, "--overwrite") == 0
    never, stopped = (sorted((tmp_path / name / "encoders").glob("*.safetensors")) for name in ("never", "stopped"))
    assert [file.name for file in never] == [file.name for file in stopped]
    assert len(never) == 2, "the encoder and its heads"
    for one, other in zip(never, stopped, strict=True):
        once, again = (store.read_tensors(file)[0] for file in (one, other))
        assert all((once[name] == again[name]).all() for name in once)


def test_a_bundled_encoder_is_used_when_the_cache_is_empty(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pretrain --bundle` copies the encoder into the project, and a run with an empty cache uses it."""
    monkeypatch.setattr(store.pretrained_files, "BUNDLE", tmp_path / "bundle")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "first"))
    assert run_quickly(results, "pretrain", "--methods", "rotnet,random", "--seeds", "11", "--bundle") == 0
    assert "rotnet  seed 11  pretrained" in capsys.readouterr().out
    (name,) = store.read_manifest()
    assert len(store.read_manifest()[name]["sha256"]) == 64
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "second"))
    assert run_quickly(results, "--methods", "rotnet", "--protocol", "knn", "--set", "knn.k=20", "--seeds", "11") == 0
    (record,), _ = records.read_all(results / "records")
    assert record.source.kind == "bundled"
    assert record.source.sha256 == store.read_manifest()[name]["sha256"]


COMMANDS = list({**DESCRIPTIONS, **COMMANDS_WITHOUT_A_PLAN})


@pytest.mark.parametrize("words", ["--help", "list", "list moco", *(f"{command} --help" for command in COMMANDS)])
def test_help_and_list_import_nothing_heavy(words: str) -> None:
    """They import no torch, pandas or numpy, so that they answer at once."""
    code = (
        "import sys\nfrom sslbench.bench.cli import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("/usr/bin/sslbench", "sslbench"),
        ("sslbench.exe", "sslbench"),
        ("/site-packages/sslbench/__main__.py", "python -m sslbench"),
        ("run_bench.py", "python run_bench.py"),
    ],
)
def test_messages_show_the_program_as_it_was_started(
    started: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usage lines, examples and errors begin commands with the words that started this one, and with no others."""
    monkeypatch.setattr("sys.argv", [started])
    for words in (["--help"], *([command, "--help"] for command in COMMANDS), ["report", "--results", "nowhere"]):
        with contextlib.suppress(SystemExit):
            main(words)
        printed = "".join(capsys.readouterr())
        assert name in printed, words
        others = {"python run_bench.py", "python -m sslbench", "sslbench"} - {name}
        assert not any(re.search(rf"(?<!-m )\b{re.escape(other)} (-|list|report)", printed) for other in others), words


@pytest.mark.parametrize("start", [["run_bench.py"], ["-m", "sslbench"]])
def test_both_ways_to_start_it(start: list[str]) -> None:
    """The script and the module are the same command line, and each says its own name."""
    done = subprocess.run([sys.executable, *start, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: python {' '.join(start)} [-h]")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_command_names_the_nearest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt command is a mistake of one line with the command that was meant."""
    assert main([f"{command}x"]) == 2
    assert capsys.readouterr().err == f"error: unknown command '{command}x'. Did you mean '{command}'?\n"
