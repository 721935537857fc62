"""The command ``status``: measured, failed, running and missing cells, and interrupted pretrainings."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from sslbench.bench.checkpoints import store as checkpoints
from sslbench.bench.cli import main
from sslbench.bench.cli.status import SAVED_WITHIN
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Plan, Request
from sslbench.bench.records import store
from tests.records.builders import example_record

SETTINGS = ("synthetic.train=200", "synthetic.test=50", "recipe.views=256", "recipe.batch_size=16", "knn.k=5")
WORDS = ["--methods", "random,rotnet,moco", "--protocol", "linear,knn", "--preset", "smoke"]
WORDS += [word for text in SETTINGS for word in ("--set", text)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "encoders").mkdir(parents=True)
    return tmp_path / "cache"


@pytest.fixture
def plan(results: Path, cache: Path) -> Plan:
    """The cells of WORDS: random is measured with both protocols, and rotnet failed with kNN."""
    methods, protocols = ("random", "rotnet", "moco"), ("linear", "knn")
    plan = build_plan(
        Request(methods=methods, protocols=protocols, preset="smoke", assignments=SETTINGS, results=results)
    )
    untrained, turned, _ = plan.jobs
    for job, cell, status in ((untrained, 0, "ok"), (untrained, 1, "ok"), (turned, 1, "failed")):
        of = job.cells[cell]
        names = {"method": job.name, "protocol": of.protocol.name}
        error = "stopped" if status == "failed" else None
        store.write(results / "records", example_record(key=of.key, cell=names, status=status, error=error))
    return plan


def save_partial_run(plan: Plan, method: str, *, steps: int, age: float) -> None:
    """A partial pretraining of so many steps of 1.5 seconds, saved ``age`` seconds ago."""
    (job,) = (job for job in plan.jobs if job.name == method)
    path = checkpoints.partial_run_path(job.recipe_hash)
    torch.save({"history": [(1.0, 1.5)] * steps, "method": {}, "optimiser": {}}, path)
    saved = time.time() - age
    os.utime(path, (saved, saved))


def test_cells_are_counted_by_method_and_protocol(
    plan: Plan, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, since not all are measured; a pretraining that saved a moment ago may be running."""
    save_partial_run(plan, "moco", steps=2, age=10)
    save_partial_run(plan, "rotnet", steps=3, age=2 * SAVED_WITHIN)
    assert main(["status", *WORDS, "--results", str(results)]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "method linear knn"
    assert lines[2:5] == ["random 1 measured 1 measured", "rotnet 1 missing 1 failed", "moco 1 running 1 running"]
    assert lines[-1] == "6 cells: 2 measured, 1 failed, 2 running, 1 missing"
    moco, rotnet = sorted(line for line in lines if line.startswith("pretraining"))
    start = "pretraining moco (convnet, smoke): 2 of 8 steps (25%) in 3 s, running or just stopped, saved "
    assert moco.startswith(start)
    assert rotnet.startswith(
        "pretraining rotnet (convnet, smoke): 3 of 4 steps (75%) in 4 s, interrupted, saved 10 min"
    )


def test_all_measured_is_exit_code_0(plan: Plan, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with the options in a file, in which they replace nothing."""
    words = ["--methods", "random", *WORDS[2:]]
    assert main(["status", *words, "--results", str(results)]) == 0
    assert "2 cells: 2 measured" in capsys.readouterr().out
    file = results / "grid.toml"
    file.write_text('methods = "random"\nresults = "."\n', encoding="utf-8")
    assert main(["status", str(file), *WORDS[2:]]) == 0
    assert "2 cells: 2 measured" in capsys.readouterr().out


def test_without_options_the_records_of_the_folder_are_counted(
    plan: Plan, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, since one failed; a partial pretraining is named by its key, damaged ones with the reason."""
    save_partial_run(plan, "moco", steps=2, age=2 * SAVED_WITHIN)
    checkpoints.partial_run_path("0" * 16).write_bytes(b"no file of torch")
    assert main(["status", "--results", str(results)]) == 1
    out = capsys.readouterr().out
    assert "3 cells: 2 measured, 1 failed" in out
    assert f"pretraining  {plan.jobs[2].recipe_hash}: 2 steps in 3 s, interrupted" in out
    assert f"pretraining  {'0' * 16}: cannot be read" in out


MISTAKES = {
    "no records": ([], ["contains no records"]),
    "no such method": (["--methods", "moca"], ["moca", "Did you mean 'moco'?"]),
    "no such option": (["--reslts", "x"], ["--reslts", "Did you mean '--results'?"]),
    "no such file": (["nowhere.toml"], ["nowhere.toml: cannot be read"]),
}


@pytest.mark.parametrize(("words", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(
    words: list[str], parts: list[str], results: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    assert main(["status", *words, "--results", str(results)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error
