"""What a record says about code and machine, on systems that lack some of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sslbench.bench.records.provenance import checkout, current_provenance, peak_memory


def test_memory_is_left_out_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no module resource; the record then has no number."""
    assert peak_memory(torch.device("cpu"))["peak_memory_bytes"] > 1 << 20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(torch.device("cpu")) == {}


def test_a_machine_without_git_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is unknown then."""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    checkout.cache_clear()
    monkeypatch.setattr(subprocess, "run", missing)
    assert current_provenance(torch.device("cpu")).commit is None
    checkout.cache_clear()


def test_the_number_of_threads_is_recorded() -> None:
    """Seconds and the last digits of sums depend on it."""
    assert current_provenance(torch.device("cpu")).threads == torch.get_num_threads()
