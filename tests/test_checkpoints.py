"""Checkpoints: weights come back as they were kept, and anything else is refused in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sslbench.bench.checkpoints import store as checkpoints
from sslbench.bench.checkpoints.store import bundle, bundled, cached, found, interrupted, load, save
from sslbench.bench.encoders import Encoder, weights_hash
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.storage.hashing import file_hash

FACTS: dict[str, Any] = {
    "method": "rotnet",
    "recipe": {"preset": "smoke", "seed": 3},
    "recipe_hash": "0123456789abcdef",
    "settings": {"flip": 0.5},
}


def encoder_of(seed: int = 0, width: int = 4) -> Encoder:
    torch.manual_seed(seed)
    encoder = ConvNet(32, width=width)
    encoder(torch.rand(4, 3, 32, 32))  # batch statistics of its own
    return encoder.to(memory_format=torch.channels_last)


def equal(one: Encoder, other: Encoder) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture
def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty bundle."""
    monkeypatch.setattr(checkpoints, "BUNDLE", tmp_path / "pretrained")
    (tmp_path / "pretrained").mkdir()
    return tmp_path / "pretrained"


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_weights_come_back(suffix: str, tmp_path: Path) -> None:
    """Weights and batch statistics come back bit for bit, from our files with their facts, from torch's without."""
    encoder, fresh = encoder_of(0), encoder_of(1)
    path = tmp_path / "deep" / f"weights.{suffix}"
    if suffix == "safetensors":
        save(path, encoder, FACTS)
    else:
        path.parent.mkdir()
        torch.save(encoder.state_dict() if suffix == "pt" else {"state_dict": encoder.state_dict()}, path)
    assert (
        load(path, fresh)
        == {
            "safetensors": FACTS,
            "pt": {},
            "pth": {"layout": {"container": "state_dict"}},
        }[suffix]
    )
    assert equal(fresh, encoder)
    assert weights_hash(fresh) == weights_hash(encoder)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    """A file without the counters of batch norm, which steer nothing, is whole."""
    encoder, fresh = encoder_of(0), encoder_of(1)
    state = {name: value for name, value in encoder.state_dict().items() if "num_batches" not in name}
    assert len(state) < len(encoder.state_dict())
    torch.save(state, tmp_path / "weights.pt")
    load(tmp_path / "weights.pt", fresh)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in state.items())


def test_the_cache_is_looked_at_before_the_bundle(pretrained: Path) -> None:
    """A recipe's encoder is found in the cache, else in the bundle, else nowhere."""
    assert found(FACTS["recipe_hash"]) is None
    encoder = encoder_of()
    path = cached(FACTS["recipe_hash"])
    save(path, encoder, FACTS)
    assert found(FACTS["recipe_hash"]) == ("cached", path)
    copy = bundle(path, "synthetic", "timm/resnet18")
    assert copy == bundled(FACTS["recipe_hash"])
    assert copy.name == f"synthetic-timm_resnet18-rotnet-smoke-s3-{FACTS['recipe_hash']}.safetensors"
    path.unlink()
    assert found(FACTS["recipe_hash"]) == ("bundled", copy)
    assert interrupted(FACTS["recipe_hash"]).parent == path.parent


def test_a_bundled_encoder_is_listed_and_checked(pretrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle keeps half precision and lists each file; a file that is not the listed one is refused."""
    encoder, fresh = encoder_of(0), encoder_of(1)
    path = cached(FACTS["recipe_hash"])
    save(path, encoder, FACTS)
    older = bundle(path, "synthetic", "convnet")
    save(path, encoder, FACTS | {"recipe_hash": "fedcba9876543210"})
    copy = bundle(path, "synthetic", "convnet")
    path.unlink()
    assert not older.exists(), "the same method, preset and seed replace what was there"
    manifest = json.loads((pretrained / "manifest.json").read_text())
    assert list(manifest) == [copy.name]
    assert manifest[copy.name]["sha256"] == file_hash(copy)
    assert manifest[copy.name]["settings"] == FACTS["settings"]
    assert load(copy, fresh)["recipe_hash"] == "fedcba9876543210"
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], value.half().to(value.dtype), atol=0, rtol=0)

    save(copy, encoder_of(2), FACTS)
    monkeypatch.chdir(pretrained)
    for named in (copy, Path(copy.name)):
        with pytest.raises(UserError, match="manifest"):
            load(named, fresh)
    (pretrained / "manifest.json").unlink()
    with pytest.raises(UserError, match="manifest"):
        load(copy, fresh)


class Code:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def without_a_layer(path: Path, state: dict[str, Tensor]) -> None:
    save_file({name: value for name, value in state.items() if "conv3.0" not in name}, path)


def of_another_shape(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"stages.conv2.0.weight": torch.zeros(2, 2, 3, 3)}, path)


def with_more(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"stages.conv6.0.weight": torch.zeros(2, 2)}, path)


def with_nan(path: Path, state: dict[str, Tensor]) -> None:
    state["stages.conv2.0.weight"][0, 0, 0, 0] = torch.nan
    save_file(state, path)


def half_of_it(path: Path, state: dict[str, Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_code(path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state | {"extra": Code(path.with_name("executed"))}, path)


def plain_pickle(path: Path, state: dict[str, Tensor]) -> None:
    path.write_bytes(pickle.dumps(Code(path.with_name("executed")), protocol=2))


def empty(path: Path, state: dict[str, Tensor]) -> None:
    path.touch()


def text(path: Path, state: dict[str, Tensor]) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def nothing(path: Path, state: dict[str, Tensor]) -> None:
    pass


def no_state(path: Path, state: dict[str, Tensor]) -> None:
    torch.save([1, 2], path)


def numbered(path: Path, state: dict[str, Tensor]) -> None:
    torch.save(dict(enumerate(state.values())), path)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("a.safetensors", without_a_layer, r"missing: stages\.conv3\.0\.weight"),
        ("a.safetensors", of_another_shape, r"of another shape: stages\.conv2\.0\.weight"),
        ("a.safetensors", with_more, r"not of this encoder: stages\.conv6\.0\.weight"),
        ("a.safetensors", with_nan, r"stages\.conv2\.0\.weight holds values that are not finite"),
        ("a.safetensors", half_of_it, "truncated"),
        ("a.pt", half_of_it, "cut short"),
        ("a.pt", with_code, r"holds code or objects \(pathlib\.\w*\.?touch|holds code"),
        ("a.pth", plain_pickle, "holds code"),
        ("a.safetensors", plain_pickle, "no safetensors file"),
        ("a.safetensors", empty, "is empty"),
        ("a.pt", empty, "is empty"),
        ("a.safetensors", text, "no safetensors file"),
        ("a.pt", text, "is text"),
        ("a.safetensors", nothing, "no such checkpoint"),
        ("a.pt", no_state, "no state dict"),
        ("a.pt", numbered, "no state dict"),
    ],
)
def test_a_bad_file_is_refused(
    name: str, spoil: Callable[[Path, dict[str, Tensor]], None], told: str, tmp_path: Path
) -> None:
    """A file that is not this encoder's weights, whole and finite, is one clear line; no code runs, nothing is set."""
    path = tmp_path / name
    spoil(path, {name: value.clone().contiguous() for name, value in encoder_of(0).state_dict().items()})
    encoder, before = encoder_of(1), encoder_of(1)
    with pytest.raises(UserError, match=told) as refused:
        load(path, encoder)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert equal(encoder, before)
    assert not (tmp_path / "executed").exists()


def test_another_width_is_another_encoder(tmp_path: Path) -> None:
    """Weights of a wider network are refused, not cut to fit, and the line stays short."""
    save(tmp_path / "wide.safetensors", encoder_of(0, width=8), FACTS)
    with pytest.raises(UserError, match="another shape") as refused:
        load(tmp_path / "wide.safetensors", encoder_of(0, width=4))
    assert "…" in str(refused.value)
    assert len(str(refused.value)) < 500


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    """The digest follows weights and batch statistics, not file names, memory layout or settings of the training."""
    encoder = encoder_of(0)
    digest = weights_hash(encoder)
    assert (
        digest == weights_hash(encoder_of(0)) == weights_hash(encoder_of(0).to(memory_format=torch.contiguous_format))
    )
    assert digest == weights_hash(encoder.eval().requires_grad_(False))
    assert digest != weights_hash(encoder_of(1))
    for name, facts in (("a", FACTS), ("b", {})):
        save(tmp_path / f"{name}.safetensors", encoder, facts)
        fresh = encoder_of(5)
        load(tmp_path / f"{name}.safetensors", fresh)
        assert weights_hash(fresh) == digest
    with torch.no_grad():
        encoder.stages["conv5"][1].running_var[0] += 1e-3  # type: ignore[index]
    assert weights_hash(encoder) != digest
