"""Faults planted on purpose are caught: by the worked and contract tests at once, and by the gate where it can see.

A fault is a few words of a function's source exchanged for others, wherever that function is used.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from sslbench.bench.cli import main
from sslbench.bench.data import Dataset
from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.report.compare import Comparison, compared
from sslbench.bench.training import loop as training
from sslbench.methods import barlow_twins, rotnet
from tests import (
    test_probes,
    test_representation,
    test_rotnet,
    test_training,
)
from tests.methods import test_barlow_twins, test_contract

FAULTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "rotation labels swapped": (rotnet.every_rotation, ".repeat_interleave(len(images))", ".repeat(len(images))"),
    "kNN without temperature": (probes.knn_predictions, "((s[:, :a] - s[:, :1]) / t).exp()", "torch.ones_like(s[:, :a])"),
    "batch norm in train mode": (
        Representation.__init__,
        "self.network = folded(encoder)",
        "self.network = copy.deepcopy(encoder).train()",
    ),
    "Barlow's diagonal with a wrong sign": (barlow_twins.distance_from_identity, "(1 - diagonal)", "(1 + diagonal)"),
    "Barlow's redundancy with a wrong sign": (barlow_twins.distance_from_identity, "+ redundancy", "- redundancy"),
    "labels for every method": (
        training.make_batch,
        'labels=needed("labels", split.labels)',
        "labels=split.labels[indices]",
    ),
}
"""What is planted where: a function, the words that are right, and the wrong ones."""


def plant(name: str, patch: pytest.MonkeyPatch) -> None:
    """Exchanges the words, in place, so that whoever has imported the function has the fault."""
    function, right, wrong = FAULTS[name]
    function = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, "the fault no longer fits the source"
    module = compile(source.replace(right, wrong), function.__code__.co_filename, "exec")
    (code,) = (c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__)
    patch.setattr(function, "__code__", code)


def labelled(tiny: Dataset) -> None:
    """The contract suite's look at a batch: what the method declares and nothing else."""
    test_contract.test_everything_is_on_the_device_of_the_batch(find_plugins("method")["rotnet"], tiny)


CAUGHT_BY: dict[str, list[Callable[..., None]]] = {
    "rotation labels swapped": [test_rotnet.test_the_loss_matches_a_loop],
    "kNN without temperature": [test_probes.test_four_points_by_hand, test_probes.test_knn_agrees_with_a_loop],
    "batch norm in train mode": [test_representation.test_features_are_the_pooled_maps_of_the_taps],
    "Barlow's diagonal with a wrong sign": [test_barlow_twins.test_the_identity_is_the_aim],
    "Barlow's redundancy with a wrong sign": [test_barlow_twins.test_the_identity_is_the_aim],
    "labels for every method": [labelled, test_training.test_a_batch_holds_what_is_needed],
}


def asked(test: Callable[..., None], tiny: Dataset) -> None:
    """Runs another file's test, with the images where it wants them."""
    test(**{"tiny": tiny} if "tiny" in inspect.signature(test).parameters else {})


@pytest.mark.parametrize("name", FAULTS)
def test_a_test_catches_it(name: str, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the fault's tests passes on the code as it is, and fails with the fault in it."""
    for test in CAUGHT_BY[name]:
        asked(test, tiny)
        with monkeypatch.context() as patch:
            patch.setenv("SSLBENCH_CACHE", str(tmp_path))  # features taken before would hide the fault
            plant(name, patch)
            with pytest.raises(AssertionError):
                asked(test, tiny)


def test_a_method_that_asks_for_labels_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that declares labels, and so gets them, is no longer self-supervised: the contract suite says so."""
    monkeypatch.setattr(rotnet.RotNet, "needs", frozenset({"labels"}))
    with pytest.raises(AssertionError):
        test_contract.test_only_the_ceiling_learns_from_labels(find_plugins("method")["rotnet"])


def gate(methods: str, protocol: str, folder: Path) -> Comparison:
    """The Makefile's grid for some methods and one protocol, against the baseline."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (grid,) = re.findall(r"^GATE = (.*)$", makefile, re.MULTILINE)
    (tolerance,) = re.findall(r"--tolerance (\S+)", makefile)
    words = re.sub(r"--methods \S+ --protocol \S+", f"--methods {methods} --protocol {protocol}", grid).split()
    others = [name for name in ("linear", "knn") if name != protocol]
    # A setting of a protocol that does not run would be a mistake.
    pairs = [words[at : at + 2] for at in range(0, len(words), 2)]
    kept = [word for pair in pairs if not pair[1].startswith(tuple(f"{name}." for name in others)) for word in pair]
    assert main([*kept, "--results", str(folder)]) == 0
    result = compared(ROOT / "results" / "baseline", folder, tolerance=float(tolerance), methods=methods.split(","))
    assert not result.counts.get("incomparable")
    return result


SEEN = {
    "rotation labels swapped": ("rotnet", "linear"),
    "kNN without temperature": ("supervised", "knn"),
}
"""Which cells of the gate show a fault."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEN)
def test_the_gate_catches_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fault in it a method is worse than the baseline beyond the tolerance."""
    methods, protocol = SEEN[name]
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    plant(name, monkeypatch)
    result = gate(methods, protocol, tmp_path / "results")
    assert result.counts.get("worse")
    assert result.exit_code == 1
