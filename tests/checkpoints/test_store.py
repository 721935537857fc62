"""Tests of saving and loading: weights come back as they were saved, and any other file is refused in one line."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sslbench.bench.checkpoints import store
from sslbench.bench.checkpoints.store import (
    bundle_encoder,
    cached_encoder_path,
    find_bundled,
    find_pretrained,
    load_encoder,
    partial_run_path,
    save_encoder,
)
from sslbench.bench.encoders import Encoder, weights_hash
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.storage.hashing import file_hash

from .builders import assert_refused, thin_encoder, thin_resnet_state

METADATA: dict[str, Any] = {
    "method": "rotnet",
    "recipe": {"preset": "smoke", "seed": 3},
    "recipe_hash": "0123456789abcdef",
    "settings": {"flip": 0.5},
}


def small_encoder(seed: int = 0, width: int = 4) -> Encoder:
    torch.manual_seed(seed)
    encoder = ConvNet(32, width=width)
    encoder(torch.rand(4, 3, 32, 32))  # batch statistics of its own
    return encoder.to(memory_format=torch.channels_last)


def same_weights(one: Encoder, other: Encoder) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture
def empty_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty bundle, in place of the project's."""
    monkeypatch.setattr(store.pretrained_files, "BUNDLE", tmp_path / "pretrained")
    (tmp_path / "pretrained").mkdir()
    return tmp_path / "pretrained"


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_weights_come_back(suffix: str, tmp_path: Path) -> None:
    """Weights and batch statistics come back bit for bit; files of sslbench also bring their metadata."""
    encoder, fresh = small_encoder(0), small_encoder(1)
    path = tmp_path / "deep" / f"weights.{suffix}"
    if suffix == "safetensors":
        save_encoder(path, encoder, METADATA)
    else:
        path.parent.mkdir()
        torch.save(encoder.state_dict() if suffix == "pt" else {"state_dict": encoder.state_dict()}, path)
    assert (
        load_encoder(path, fresh)
        == {
            "safetensors": METADATA,
            "pt": {},
            "pth": {"layout": {"container": "state_dict"}},
        }[suffix]
    )
    assert same_weights(fresh, encoder)
    assert weights_hash(fresh) == weights_hash(encoder)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    """A file without the counters of batch norm, which do not affect evaluation, is complete."""
    encoder, fresh = small_encoder(0), small_encoder(1)
    state = {name: value for name, value in encoder.state_dict().items() if "num_batches" not in name}
    assert len(state) < len(encoder.state_dict())
    torch.save(state, tmp_path / "weights.pt")
    load_encoder(tmp_path / "weights.pt", fresh)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in state.items())


def test_the_cache_comes_before_the_bundle(empty_bundle: Path) -> None:
    """A recipe's encoder is taken from the cache if it is there, else from the bundle."""
    assert find_pretrained(METADATA["recipe_hash"]) is None
    encoder = small_encoder()
    path = cached_encoder_path(METADATA["recipe_hash"])
    save_encoder(path, encoder, METADATA)
    assert find_pretrained(METADATA["recipe_hash"]) == ("cached", path)
    copy = bundle_encoder(path, "synthetic", "timm/resnet18")
    assert copy == find_bundled(METADATA["recipe_hash"])
    assert copy.name == f"synthetic-timm_resnet18-rotnet-smoke-s3-{METADATA['recipe_hash']}.safetensors"
    path.unlink()
    assert find_pretrained(METADATA["recipe_hash"]) == ("bundled", copy)
    assert partial_run_path(METADATA["recipe_hash"]).parent == path.parent


def test_a_bundled_encoder_is_listed_and_checked(empty_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle has half precision and lists each file's SHA-256; a file with another one is refused."""
    encoder, fresh = small_encoder(0), small_encoder(1)
    path = cached_encoder_path(METADATA["recipe_hash"])
    save_encoder(path, encoder, METADATA)
    older = bundle_encoder(path, "synthetic", "convnet")
    save_encoder(path, encoder, METADATA | {"recipe_hash": "fedcba9876543210"})
    copy = bundle_encoder(path, "synthetic", "convnet")
    path.unlink()
    assert not older.exists(), "the same method, preset and seed replace the older file"
    manifest = json.loads((empty_bundle / "manifest.json").read_text())
    assert list(manifest) == [copy.name]
    assert manifest[copy.name]["sha256"] == file_hash(copy)
    assert manifest[copy.name]["settings"] == METADATA["settings"]
    assert load_encoder(copy, fresh)["recipe_hash"] == "fedcba9876543210"
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], value.half().to(value.dtype), atol=0, rtol=0)

    save_encoder(copy, small_encoder(2), METADATA)
    monkeypatch.chdir(empty_bundle)
    for named in (copy, Path(copy.name)):
        with pytest.raises(UserError, match="manifest"):
            load_encoder(named, fresh)
    (empty_bundle / "manifest.json").unlink()
    with pytest.raises(UserError, match="manifest"):
        load_encoder(copy, fresh)


class Code:
    """Creates a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def without_a_layer(path: Path, state: dict[str, Tensor]) -> None:
    save_file({name: value for name, value in state.items() if "conv3.0" not in name}, path)


def of_another_shape(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"stages.conv2.0.weight": torch.zeros(2, 2, 3, 3)}, path)


def with_one_more_layer(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"stages.conv6.0.weight": torch.zeros(2, 2)}, path)


def with_nan(path: Path, state: dict[str, Tensor]) -> None:
    state["stages.conv2.0.weight"][0, 0, 0, 0] = torch.nan
    save_file(state, path)


def cut_in_half(path: Path, state: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_code(path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state | {"extra": Code(path.with_name("executed"))}, path)


def plain_pickle(path: Path, state: dict[str, Tensor]) -> None:
    path.write_bytes(pickle.dumps(Code(path.with_name("executed")), protocol=2))


def empty_file(path: Path, state: dict[str, Tensor]) -> None:
    path.touch()


def text(path: Path, state: dict[str, Tensor]) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def no_file(path: Path, state: dict[str, Tensor]) -> None:
    pass


def no_tensors(path: Path, state: dict[str, Tensor]) -> None:
    torch.save([1, 2], path)


def numbered_tensors(path: Path, state: dict[str, Tensor]) -> None:
    torch.save(dict(enumerate(state.values())), path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.safetensors", without_a_layer, r"missing: stages\.conv3\.0\.weight"),
        ("a.safetensors", of_another_shape, r"of another shape: stages\.conv2\.0\.weight"),
        ("a.safetensors", with_one_more_layer, r"not of this encoder: stages\.conv6\.0\.weight"),
        ("a.safetensors", with_nan, r"stages\.conv2\.0\.weight holds values that are not finite"),
        ("a.safetensors", cut_in_half, "truncated"),
        ("a.pt", cut_in_half, "cut short"),
        ("a.pt", with_code, r"holds code or objects \(pathlib\.\w*\.?touch|holds code"),
        ("a.pth", plain_pickle, "holds code"),
        ("a.safetensors", plain_pickle, "not a safetensors file"),
        ("a.safetensors", empty_file, "is empty"),
        ("a.pt", empty_file, "is empty"),
        ("a.safetensors", text, "not a safetensors file"),
        ("a.pt", text, "is text"),
        ("a.safetensors", no_file, "no such checkpoint"),
        ("a.pt", no_tensors, "no state dict"),
        ("a.pt", numbered_tensors, "no state dict"),
    ],
)
def test_a_bad_file_is_refused(
    name: str, write: Callable[[Path, dict[str, Tensor]], None], message: str, tmp_path: Path
) -> None:
    """Each file that is not this encoder's weights, complete and finite, has its own message; no code runs."""
    path = tmp_path / name
    write(path, {name: value.clone().contiguous() for name, value in small_encoder(0).state_dict().items()})
    assert_refused(path, small_encoder(1), message)
    assert not (tmp_path / "executed").exists()


def test_another_width_is_another_encoder(tmp_path: Path) -> None:
    """Weights of a wider network are refused, not cut to fit, and the line stays short."""
    save_encoder(tmp_path / "wide.safetensors", small_encoder(0, width=8), METADATA)
    with pytest.raises(UserError, match="another shape") as refused:
        load_encoder(tmp_path / "wide.safetensors", small_encoder(0, width=4))
    assert "…" in str(refused.value)
    assert len(str(refused.value)) < 500


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    """The hash depends on weights and batch statistics, not on file names, memory layout or metadata."""
    encoder = small_encoder(0)
    digest = weights_hash(encoder)
    assert (
        digest
        == weights_hash(small_encoder(0))
        == weights_hash(small_encoder(0).to(memory_format=torch.contiguous_format))
    )
    assert digest == weights_hash(encoder.eval().requires_grad_(False))
    assert digest != weights_hash(small_encoder(1))
    for name, metadata in (("a", METADATA), ("b", {})):
        save_encoder(tmp_path / f"{name}.safetensors", encoder, metadata)
        fresh = small_encoder(5)
        load_encoder(tmp_path / f"{name}.safetensors", fresh)
        assert weights_hash(fresh) == digest
    with torch.no_grad():
        encoder.stages["conv5"][1].running_var[0] += 1e-3  # type: ignore[index]
    assert weights_hash(encoder) != digest


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_weights_are_the_encoders_own(zipped: bool, tmp_path: Path) -> None:
    """The encoder does not depend on the file afterwards, and tensors that shared memory in it do not share it."""
    state = thin_resnet_state()
    state["layer1.0.bn2.weight"] = state["layer1.0.bn1.weight"]
    path = tmp_path / "tied.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    encoder = thin_encoder()
    parameters = dict(encoder.named_parameters())
    load_encoder(path, encoder)
    assert all(parameters[name] is value for name, value in encoder.named_parameters()), "an optimiser may hold them"
    path.write_bytes(bytes(path.stat().st_size))
    torch.testing.assert_close(encoder.state_dict()["stages.conv1.0.weight"], state["conv1.weight"])
    first, second = (parameters[f"stages.conv2.1.0.bn{n}.weight"] for n in (1, 2))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_half_precision_becomes_full_precision(tmp_path: Path) -> None:
    """Weights in half precision fill an encoder in full precision."""
    state = thin_resnet_state()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    buffer = io.BytesIO()
    torch.save(halves, buffer)
    (tmp_path / "half.pt").write_bytes(buffer.getvalue())
    encoder: Encoder = thin_encoder()
    load_encoder(tmp_path / "half.pt", encoder)
    torch.testing.assert_close(encoder.state_dict()["stages.conv1.0.weight"], state["conv1.weight"].half().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.double() * 0 + 1e300, r"holds 1e\+300, beyond the range of float32"),
        (lambda value: value.to(torch.int8), "holds int8 values, which are not weights in floating point"),
        (lambda value: value.to(torch.float8_e4m3fn), "holds float8_e4m3fn values, which are not weights"),
        (lambda value: value.to(torch.complex64), "holds complex64 values, which are not weights"),
        (lambda value: value.bool(), "holds bool values, which are not weights"),
        (lambda value: value * torch.inf, "holds values that are not finite"),
        (lambda value: torch.stack([value[0] * torch.nan, *value[1:]]), "holds values that are not finite"),
    ],
)
def test_values_that_are_no_weights_are_refused(
    change: Callable[[Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    """Quantised values and numbers beyond float32 never become weights, as infinity or otherwise."""
    state = {name: value.contiguous() for name, value in small_encoder(0).state_dict().items()}
    state["stages.conv2.0.weight"] = change(state["stages.conv2.0.weight"])
    save_file(state, tmp_path / "a.safetensors")
    assert_refused(tmp_path / "a.safetensors", small_encoder(1), message)


def test_large_values_that_float32_holds_are_weights(tmp_path: Path) -> None:
    """float64 weights within the range load, and sums beyond the range of half precision do not matter."""
    state = {
        name: value.double() if value.is_floating_point() else value
        for name, value in small_encoder(0).state_dict().items()
    }
    state["stages.conv2.0.weight"] = torch.full_like(state["stages.conv2.0.weight"], 1e38)
    torch.save(state, tmp_path / "a.pt")
    encoder = small_encoder(1)
    load_encoder(tmp_path / "a.pt", encoder)
    assert encoder.state_dict()["stages.conv2.0.weight"].max() == torch.tensor(1e38)
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in small_encoder(0).state_dict().items()
    }
    halves["stages.conv2.0.weight"] = torch.full_like(halves["stages.conv2.0.weight"], 6e4)
    torch.save(halves, tmp_path / "b.pt")
    load_encoder(tmp_path / "b.pt", encoder)
