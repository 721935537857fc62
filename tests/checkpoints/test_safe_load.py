"""Tests of reading untrusted files: code never runs, and damaged or absurd files are refused before they are read."""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sslbench.bench.checkpoints import safe_load
from sslbench.bench.checkpoints.store import load_encoder
from sslbench.bench.encoders.nin import NIN
from sslbench.bench.errors import UserError

from . import layouts
from .builders import assert_refused, thin_encoder, thin_resnet_state


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


def truncated(path: Path, file: Any) -> None:
    torch.save(file, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_code(path: Path, file: Any) -> None:
    torch.save(file | {"lemniscate": Code(path.with_name("ran"))}, path)


def with_code_in_old_format(path: Path, file: Any) -> None:
    torch.save(file | {"x": Code(path.with_name("ran"))}, path, _use_new_zipfile_serialization=False)


def absurd_shape(path: Path, file: Any) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1).expand(10**6, 10**6)}}, path)


def zip_bomb(path: Path, file: Any) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))


def gzip_bomb(path: Path, file: Any) -> None:
    head = tarfile.TarInfo("model_net")
    head.size = safe_load.MAX_BYTES + 1
    path.write_bytes(gzip.compress(head.tobuf() + bytes(1024)))


def empty_file(path: Path, file: Any) -> None:
    path.touch()


def web_page(path: Path, file: Any) -> None:
    path.write_text("<html><body>404 Not Found</body></html>")


def random_bytes(path: Path, file: Any) -> None:
    path.write_bytes(bytes(range(200, 256)))


def without_tensors(path: Path, file: Any) -> None:
    torch.save({"epoch": 3, "list": [1, 2]}, path)


DAMAGED: dict[str, tuple[Callable[[Path, Any], None], str]] = {
    "truncated": (truncated, "cut short"),
    "code": (with_code, r"holds code or objects \(posix\.system\), which are never run"),
    "code in an old file": (with_code_in_old_format, r"holds code or objects \(posix\.system\), which are never run"),
    "empty": (empty_file, "is empty"),
    "text": (web_page, r"is text and not a checkpoint \(it begins with b'<html>"),
    "noise": (random_bytes, "of no known format"),
    "absurd shape": (absurd_shape, r"claims the shape \(1000000, 1000000\)"),
    "zip bomb": (zip_bomb, "would unpack to"),
    "packed bomb": (gzip_bomb, "unpacks to more than"),
    "no tensors": (without_tensors, "holds no state dict"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_or_dangerous_file_is_refused(damage: str, tmp_path: Path) -> None:
    """Each has its own message, no code runs, and the encoder is unchanged."""
    write, message = DAMAGED[damage]
    path = tmp_path / "checkpoint.pth.tar"
    write(path, layouts.moco(thin_resnet_state()))
    assert_refused(path, thin_encoder(), message)
    assert not (tmp_path / "ran").exists()


def test_objects_next_to_the_weights_become_inert(tmp_path: Path) -> None:
    """An argparse namespace is replaced by an empty object, whatever it held."""
    path = tmp_path / "a.pth"
    torch.save(layouts.solo(thin_resnet_state()), path)
    kept = safe_load.read_torch_file(path, mmap=True)["hyper_parameters"]
    assert isinstance(kept, safe_load.InertObject)
    assert not kept
    assert not vars(kept)


def test_absurd_files_never_reach_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.load is not called for a zip bomb or a file beyond the limit; one with an absurd shape is only mapped."""
    calls: list[dict[str, Any]] = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: (calls.append(k), real(*a, **k))[1])
    for name, write in (("bomb", zip_bomb), ("absurd", absurd_shape)):
        write(tmp_path / name, {})
        with pytest.raises(UserError):
            load_encoder(tmp_path / name, thin_encoder())
    assert [call.get("mmap") for call in calls] == [True], "the absurd file is mapped, the bomb not opened"
    monkeypatch.setattr(safe_load, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="more than any encoder"):
        load_encoder(tmp_path / "absurd", thin_encoder())
    assert all(call["weights_only"] for call in calls)


def test_the_first_checkpoint_of_an_archive_is_read(tmp_path: Path) -> None:
    """RotNet's NIN loads from the .tar.gz of its release; the log and the optimiser's state are skipped."""
    torch.manual_seed(0)
    source, encoder = NIN(32, blocks=4).eval(), NIN(32, blocks=4).eval()
    state = {}
    for name, value in source.state_dict().items():
        _, tap, layer, part, rest = name.split(".")
        block = int(tap.removeprefix("conv"))
        number = int(layer) + 1 - (block in (2, 3))  # after a pooling
        state[f"{block - 1}.Block{block}_ConvB{number}.layers.{('Conv', 'BatchNorm')[int(part)]}.{rest}"] = value
    torch.save(layouts.rotnet(state), tmp_path / "model_net_epoch200", _use_new_zipfile_serialization=False)
    torch.save({"optimizer": {"w": torch.ones(9)}}, tmp_path / "model_optim_epoch200")
    (tmp_path / "log.txt").write_text("epoch 200")
    with tarfile.open(tmp_path / "CIFAR10_RotNet_NIN4blocks.tar.gz", "w:gz") as archive:
        for name in ("log.txt", "model_optim_epoch200", "model_net_epoch200"):
            archive.add(tmp_path / name, f"CIFAR10_RotNet_NIN4blocks/{name}")
    load_encoder(tmp_path / "CIFAR10_RotNet_NIN4blocks.tar.gz", encoder)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), source(x))
    assert not list(tmp_path.glob(".unpacked-*"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_an_unpacked_file_is_closed_before_it_is_read_and_not_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows opens no file twice and deletes none that is mapped; the tensors stay valid after its deletion."""
    torch.save({"a": torch.arange(4.0), "b": torch.ones(2, 3)}, tmp_path / "net.pth")
    with tarfile.open(tmp_path / "net.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "net.pth", "net.pth")
    real, seen = safe_load.read_torch_file, []

    def read_closed_file(path: Path, **options: Any) -> Any:
        opened = [os.path.realpath(entry.path) for entry in os.scandir("/proc/self/fd")]
        seen.append((str(path.resolve()) in opened, options["mmap"]))
        return real(path, **options)

    monkeypatch.setattr(safe_load, "read_torch_file", read_closed_file)
    content = safe_load.read_checkpoint_file(tmp_path / "net.tar.gz")
    assert (seen, content.memory_mapped) == ([(False, False)], False)
    assert content.groups[""]["a"].tolist() == [0, 1, 2, 3]
    assert not list(tmp_path.glob(".unpacked-*"))
