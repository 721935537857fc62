"""Tests of the reasons for refusing a file: code, programs and pickle protocols are distinguished from damage."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sslbench.bench.checkpoints.refused_files import scan_pickle
from sslbench.bench.checkpoints.safe_load import read_checkpoint_file
from sslbench.bench.errors import UserError


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


def refusal(path: Path) -> str:
    """The line with which a file is refused."""
    with pytest.raises(UserError) as refused:
        read_checkpoint_file(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_is_named_in_any_protocol(how: str, protocol: int, tmp_path: Path) -> None:
    """A file with code says so, whatever pickle protocol it has, and the code does not run."""
    path, content = tmp_path / "a.pt", {"w": torch.ones(2), "x": Code(tmp_path / "ran")}
    if how == "pickle":
        path.write_bytes(pickle.dumps({"x": Code(tmp_path / "ran")}, protocol=protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=how == "zip")
    assert "holds code or objects (posix.system), which are never run" in refusal(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 4, 5])
def test_a_protocol_that_torch_cannot_read_safely_is_named(protocol: int, tmp_path: Path) -> None:
    """Plain tensors in such a protocol are not called damaged."""
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt", pickle_protocol=protocol)
    assert f"pickle protocol {protocol or '0 or 1'}" in refusal(tmp_path / "a.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "b.pt", pickle_protocol=3)
    assert list(read_checkpoint_file(tmp_path / "b.pt").groups[""]) == ["w"]


@pytest.mark.filterwarnings("ignore")
def test_programs_are_named(tmp_path: Path) -> None:
    """TorchScript, exported programs and whole modules hold code; the remedy is to save the tensors alone."""
    layer = nn.Linear(2, 2)
    torch.jit.script(layer).save(tmp_path / "script.pt")
    torch.export.save(torch.export.export(layer, (torch.ones(1, 2),)), tmp_path / "program.pt2")
    torch.save(layer, tmp_path / "module.pt")
    for name, message in {
        "script.pt": "is a TorchScript program, which holds code",
        "program.pt2": "is an exported program (.pt2), which holds code",
        "module.pt": "holds code or objects (torch.nn.modules.linear.Linear)",
    }.items():
        assert message in refusal(tmp_path / name)
        assert "Save the tensors alone: torch.save(encoder.state_dict()" in refusal(tmp_path / name)


def test_damage_stays_damage(tmp_path: Path) -> None:
    """Half a file of tensors is called cut short."""
    torch.save({"w": torch.ones(200)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content[: len(content) // 2])
    assert "cut short" in refusal(tmp_path / "a.pt")
    assert scan_pickle(b"\x80\x02garbage") == (2, [])
