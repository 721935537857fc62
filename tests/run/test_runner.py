"""The runner: what is measured again and what is not, failed cells, and a run that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sslbench.bench.checkpoints import store
from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from sslbench.bench.run import encoder
from tests.builders import QUICK_OPTIONS, run_quickly, write_method

KNN = ("--protocol", "knn", "--set", "knn.k=20")


def test_only_what_changed_is_measured(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another protocol setting is a new cell on the same encoder, which comes from the cache."""
    words = ["--methods", "rotnet", "--protocol", "knn", "--seeds", "7"]
    assert run_quickly(results, *words, "--set", "knn.k=20") == 0
    monkeypatch.setattr(encoder, "pretrain", None)
    assert run_quickly(results, *words, "--set", "knn.k=10") == 0
    found, _ = records.read_all(results / "records")
    assert sorted(record.settings.protocol["k"] for record in found) == [[10], [20]]
    assert {record.source.kind for record in found} == {"pretrained", "cached"}


def test_a_diverged_loss_fails_its_cell_alone(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss that becomes NaN: exit code 1 and a failed record that names the step; other cells are measured."""
    file = write_method(tmp_path, "broken", "        if self.step == 4: return self.head.weight.sum() * float('nan')")
    words = ["--plugin", file, "--methods", "broken,random", *KNN]
    assert run_quickly(results, *words) == 1
    found, _ = records.read_all(results / "records")
    assert {record.cell.method: record.status for record in found} == {"broken": "failed", "random": "ok"}
    assert "step 4" in next(record.error for record in found if record.status == "failed")
    assert "failed" in capsys.readouterr().out


def test_a_protocol_that_raises_fails_its_cell_alone(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while probing is recorded with its reason, and the other protocol is measured."""
    monkeypatch.setattr("sslbench.bench.evaluation.probes.knn_predictions", lambda *a, **k: 1 / 0)
    assert run_quickly(results, "--methods", "random", "--protocol", "knn,linear", "--set", "knn.k=20") == 1
    found = {record.cell.protocol: record for record in records.read_all(results / "records")[0]}
    assert found["linear"].status == "ok"
    assert found["knn"].error == "ZeroDivisionError: division by zero"


@pytest.mark.slow
def test_a_run_killed_while_writing_loses_that_cell_alone(results: Path) -> None:
    """After SIGKILL while a record is written, earlier records are complete, and the next run measures the rest."""
    words = ["--methods", "random", "--protocol", "knn,linear", "--set", "knn.k=20"]
    words += [*QUICK_OPTIONS, "--results", str(results)]
    code = (
        "import os, signal, sys\nfrom sslbench.bench.cli import main\nreplace = os.replace\n"
        "def deadly(part, whole):\n"
        "    if '-linear-' in str(whole) and str(whole).endswith('.json'): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    replace(part, whole)\nos.replace = deadly\nmain({words!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    (before,), damaged = records.read_all(results / "records")
    assert (before.cell.protocol, damaged) == ("knn", [])
    assert main(words) == 0
    after = {record.cell.protocol: record for record in records.read_all(results / "records")[0]}
    assert after.keys() == {"knn", "linear"}
    assert after["knn"].provenance == before.provenance


def test_a_tap_named_twice_is_one_tap(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Naming a tap twice does not measure it twice."""
    words = ["--methods", "random", *KNN]
    assert run_quickly(results, *words, "--taps", "conv4,conv4") == 0
    (record,), _ = records.read_all(results / "records")
    assert record.card["taps"] == ["conv4"]
    assert "over seeds" not in capsys.readouterr().out


def test_one_file_for_two_methods_is_two_cells(results: Path) -> None:
    """Weights from a file are one cell per method, whatever the number of seeds."""
    assert run_quickly(results, "--methods", "rotnet", *KNN) == 0
    (record,), _ = records.read_all(results / "records")
    file = store.cached_encoder_path(record.identity.recipe)
    given = [f"--checkpoint=rotnet={file}", f"--checkpoint=moco={file}"]
    assert run_quickly(results, "--methods", "rotnet,moco", "--seeds", "0,1", *KNN, *given) == 0
    found = [record.cell for record in records.read_all(results / "records")[0] if record.source.kind == "file"]
    assert sorted((cell.method, cell.seed) for cell in found) == [("moco", 0), ("rotnet", 0)]


def test_an_edited_plugin_is_measured_again(tmp_path: Path, results: Path) -> None:
    """The code of a file given by --plugin is part of the key, since it may change between two runs."""
    for body in ("        pass", "        self.step += 0"):
        file = write_method(tmp_path, "edited", body)
        assert run_quickly(results, "--plugin", file, "--methods", "edited", *KNN) == 0
    assert len(records.read_all(results / "records")[0]) == 2
