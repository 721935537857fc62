"""Floor and ceiling are measured with the methods, where that needs no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sslbench.bench.checkpoints import pretrained_files
from sslbench.bench.cli.options import build_parser, request_from
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request


def planned(results: Path, *methods: str, **options: Any) -> list[tuple[str, int, list[str]]]:
    """Method, seed and protocols of each job of a small run."""
    options = {"assignments": ("synthetic.train=200", "synthetic.test=20"), "references": True} | options
    plan = build_plan(Request(methods=methods, preset="smoke", results=results, **options))
    return [(job.name, job.recipe.seed, [cell.protocol.name for cell in job.cells]) for job in plan.jobs]


@pytest.fixture(autouse=True)
def no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is pretrained."""
    monkeypatch.setattr(pretrained_files, "BUNDLE", tmp_path / "bundle")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))


def test_the_floor_is_measured_for_each_seed_and_protocol(results: Path) -> None:
    """It needs no training; the ceiling would, and is left out. Without references only the methods are measured."""
    run = {"protocols": ("linear", "knn"), "seeds": (0, 1)}
    methods = [("rotnet", 0, ["linear", "knn"]), ("rotnet", 1, ["linear", "knn"])]
    floor = [("random", 0, ["linear", "knn"]), ("random", 1, ["linear", "knn"])]
    assert planned(results, "rotnet", **run) == methods + floor
    assert planned(results, "rotnet", **run, references=False) == methods


def test_the_ceiling_is_measured_where_its_weights_are_here(results: Path) -> None:
    """The seed whose encoder is in the cache is measured, unless everything is to be measured again."""
    options = {"assignments": ("synthetic.train=200", "synthetic.test=20"), "preset": "smoke", "results": results}
    (job,) = build_plan(Request(methods=("supervised",), **options)).jobs
    path = pretrained_files.cached_encoder_path(job.recipe_hash)
    path.parent.mkdir(parents=True)
    path.touch()
    names = [job[:2] for job in planned(results, "rotnet", seeds=(0, 1))]
    assert names == [("rotnet", 0), ("rotnet", 1), ("random", 0), ("random", 1), ("supervised", 0)]
    assert [job[0] for job in planned(results, "rotnet", overwrite=True)] == ["rotnet", "random"]


def test_named_references_are_not_repeated(results: Path) -> None:
    """The floor that is among the methods stays at its place; pretraining alone has none."""
    assert [job[0] for job in planned(results, "random", "rotnet")] == ["random", "rotnet"]
    assert [job[0] for job in planned(results, "rotnet", protocols=None)] == ["rotnet"]


def test_expensive_protocols_and_variants_have_no_references(results: Path) -> None:
    """Few labels trains whole networks, and the numbers of rotations are compared with each other."""
    floor = ("random", 0, ["linear"])
    assert planned(results, "rotnet", protocols=("linear", "fewlabels"))[1:] == [floor]
    assert planned(results, "rotnet", protocols=("linear", "rotations"))[-1] == floor
    assert "random" not in {job[0] for job in planned(results, "rotnet", protocols=("fewlabels", "rotations"))}


def test_run_has_references_unless_told_otherwise() -> None:
    """They are the default of the command line."""
    words = ["--methods", "rotnet"]
    assert request_from(build_parser("run").parse_args(words)).references
    assert not request_from(build_parser("run").parse_args([*words, "--no-references"])).references
