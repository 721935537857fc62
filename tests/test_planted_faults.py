"""Faults planted on purpose are detected, by tests of the faulty code and by the gate against regressions.

A fault replaces a few words in the source of a function, wherever that function is used.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.report.compare import compare_folders
from sslbench.bench.training import loop
from sslbench.methods import barlow_twins, rotnet
from tests import gate

FAULTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "rotation labels swapped": (rotnet.every_rotation, ".repeat_interleave(len(images))", ".repeat(len(images))"),
    "kNN without temperature": (
        probes.knn_predictions,
        "((s[:, :n] - s[:, :1]) / t).exp()",
        "torch.ones_like(s[:, :n])",
    ),
    "batch norm in train mode": (
        Representation.__init__,
        "self._folded_encoder = fold_batch_norms(encoder)",
        "self._folded_encoder = copy.deepcopy(encoder).train()",
    ),
    "Barlow's diagonal with a wrong sign": (barlow_twins.distance_from_identity, "(1 - diagonal)", "(1 + diagonal)"),
    "Barlow's redundancy with a wrong sign": (barlow_twins.distance_from_identity, "+ redundancy", "- redundancy"),
    "labels for every method": (
        loop.make_batch,
        'labels=select_if_needed("labels", split.labels)',
        "labels=split.labels[indices]",
    ),
}
"""Fault -> a function, the correct words in its source, and the wrong ones."""

DETECTED_BY: dict[str, list[str]] = {
    "rotation labels swapped": ["tests/methods/test_rotnet.py::test_the_loss_matches_a_loop"],
    "kNN without temperature": [
        "tests/evaluation/probes/test_neighbours.py::test_four_points_by_hand",
        "tests/evaluation/probes/test_neighbours.py::test_knn_agrees_with_a_loop",
    ],
    "batch norm in train mode": [
        "tests/evaluation/test_representation.py::test_features_are_the_pooled_maps_of_the_taps"
    ],
    "Barlow's diagonal with a wrong sign": ["tests/methods/test_barlow_twins.py::test_the_identity_has_no_loss"],
    "Barlow's redundancy with a wrong sign": ["tests/methods/test_barlow_twins.py::test_the_identity_has_no_loss"],
    "labels for every method": [
        "tests/methods/test_contract.py::test_everything_is_on_the_device_of_the_batch[rotnet]",
        "tests/training/test_loop.py::test_a_batch_holds_what_is_needed",
    ],
}
"""Fault -> the tests that detect it."""

SEEN_BY_GATE = {
    "rotation labels swapped": ("rotnet", "linear"),
    "kNN without temperature": ("supervised", "knn"),
}
"""Fault -> a method and a protocol of the gate that detect it."""


def plant(name: str, patch: pytest.MonkeyPatch) -> None:
    """Replaces the words in the function itself, so that every module that has imported it has the fault."""
    function, correct, wrong = FAULTS[name]
    function = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(correct) == 1, "the fault no longer matches the source"
    module = compile(source.replace(correct, wrong), function.__code__.co_filename, "exec")
    (code,) = (c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__)
    patch.setattr(function, "__code__", code)


class OutcomeRecorder:
    """A plugin of pytest that records for each test the type of its exception, or None where it passed."""

    def __init__(self) -> None:
        self.exceptions: dict[str, type[BaseException] | None] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Records the outcome of a test's own call, or of a failed setup."""
        if call.when == "call" or call.excinfo:
            self.exceptions.setdefault(item.nodeid, call.excinfo.type if call.excinfo else None)
        return (yield)


def run_tests(tests: list[str]) -> dict[str, type[BaseException] | None]:
    """Runs tests in this process, with an empty cache of their own; returns each test's exception or None."""
    recorder = OutcomeRecorder()
    options = ["-q", "-p", "no:cacheprovider", "-n", "0", "-o", "addopts=", "--rootdir", str(ROOT)]
    pytest.main([*options, *(str(ROOT / test) for test in tests)], plugins=[recorder])
    assert len(recorder.exceptions) == len(tests), "a test that should detect a fault was not found"
    return recorder.exceptions


def test_without_faults_these_tests_pass() -> None:
    """On the correct code, every test that detects a fault passes."""
    assert set(run_tests(sorted({test for tests in DETECTED_BY.values() for test in tests})).values()) == {None}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_detected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fault, every one of its tests fails with an AssertionError."""
    plant(name, monkeypatch)
    assert set(run_tests(DETECTED_BY[name]).values()) == {AssertionError}


def test_a_method_that_asks_for_labels_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract suite fails for a method that declares labels, since it is not self-supervised."""
    monkeypatch.setattr(rotnet.RotNet, "needs", frozenset({"labels"}))
    test = "tests/methods/test_contract.py::test_only_the_ceiling_learns_from_labels[rotnet]"
    assert set(run_tests([test]).values()) == {AssertionError}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEN_BY_GATE)
def test_the_gate_detects_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fault a method is worse than the baseline by more than the tolerance."""
    method, protocol = SEEN_BY_GATE[name]
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    plant(name, monkeypatch)
    assert gate.measure(tmp_path / "results", [method], [protocol]) == 0
    result = compare_folders(gate.BASELINE, tmp_path / "results", tolerance=gate.TOLERANCE, methods=[method])
    assert not result.counts.get("incomparable")
    assert result.counts.get("worse")
    assert result.exit_code == 1
