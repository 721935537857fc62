"""Tests of detecting encoders: the tensors of a file tell which encoder it holds and which input that expects."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision.models import resnet18

from sslbench.bench.checkpoints import detect
from sslbench.bench.checkpoints.resolve import resolve_checkpoints
from sslbench.bench.checkpoints.store import load_encoder, save_encoder
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.input_spec import MEAN, InputSpec

from . import layouts
from .builders import PLUGINS, REQUESTED, resolve_words


def test_a_files_encoder_is_detected_from_its_tensors(tmp_path: Path) -> None:
    """A residual network, the encoder of --encoder and a file that sslbench wrote are distinguished."""
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in resnet18().state_dict().items()}}, tmp_path / "a.ckpt")
    torch.save(ConvNet(32).state_dict(), tmp_path / "b.ckpt")
    a, b = resolve_words(f"file/{tmp_path}/*.ckpt")
    assert (a.encoder, a.input_spec) == ("resnet18", InputSpec())
    assert (b.encoder, b.input_spec) == ("convnet", None)
    save_encoder(tmp_path / "ours.safetensors", ConvNet(32), {"method": "colorization"})
    assert resolve_words(f"file/{tmp_path}/ours.safetensors")[0].input_mode == "lightness", (
        "as the method that trained it declares"
    )
    torch.save({"x.weight": torch.ones(2)}, tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=r"do not fit the encoder: 0 % .*@torchvision/resnet34"):
        resolve_words(f"file/{tmp_path}/c.ckpt")
    with pytest.raises(UserError, match="do not fit the encoder"):
        resolve_words(f"file/{tmp_path}/b.ckpt@nin")


def test_each_candidate_is_built_once_for_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten checkpoints of one training run need one skeleton of their encoder."""
    built = []
    real = detect.build_skeleton
    monkeypatch.setattr(detect, "build_skeleton", lambda *given: (built.append(given), real(*given))[1])
    for epoch in range(10):
        torch.save(ConvNet(32).state_dict(), tmp_path / f"{epoch}.ckpt")
    word = f"file/{tmp_path}/*.ckpt@convnet"
    assert [found.encoder for found in resolve_words(word)] == ["convnet"] * 10
    assert len(built) == 1


def test_the_stem_for_small_images_is_detected_from_other_keys(tmp_path: Path) -> None:
    """solo-learn pads its 3 x 3 stem by 2 and others by 1, which no shape shows. Larger images are resized to 32."""
    torch.manual_seed(0)
    theirs = resnet18()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=2, bias=False), nn.Identity()  # type: ignore[assignment]
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    torch.save(layouts.solo(state), tmp_path / "solo.ckpt")
    torch.save(layouts.lightly(state), tmp_path / "lightly.ckpt")
    solo, lightly = resolve_words(f"file/{tmp_path}/solo.ckpt", f"file/{tmp_path}/lightly.ckpt")
    assert (solo.encoder, solo.changed_settings, solo.input_spec) == ("resnet18", {"stem_padding": 2}, None)
    assert solo.record_source["encoder_settings"] == solo.changed_settings
    assert (lightly.encoder, lightly.changed_settings) == ("resnet18", {})
    assert resolve_words(f"file/{tmp_path}/solo.ckpt@resnet18")[0].changed_settings == {}, "@ENCODER keeps the defaults"
    assert solo.plugin
    encoder = solo.plugin.load()(32, **solo.settings).eval()
    load_encoder(tmp_path / "solo.ckpt", encoder)
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.eval()((x - encoder.mean) / encoder.std)
        torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)
    (large,) = resolve_words(f"file/{tmp_path}/solo.ckpt", image_size=256)
    assert (large.changed_settings, large.input_spec) == ({"stem_padding": 2}, InputSpec(size=32, crop=1.0))


@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("test_vit", ["head.weight", "head.bias"], "own"),  # timm's own weights have a classifier
        ("test_vit", [], "imagenet"),  # a released backbone of DINO or MAE
        ("test_vit", ["head.mlp.0.weight", "mask_token"], "imagenet"),
        ("test_vit.r160_in1k", [], "own"),  # weights of timm that were named
    ],
)
def test_a_file_is_normalised_as_its_program_does(name: str, keys: list[str], expected: str, tmp_path: Path) -> None:
    """The normalisation of timm's default weights holds only for files of timm; a setting has the last word."""
    torch.manual_seed(0)
    state = timm.create_model("test_vit", num_classes=0).state_dict() | {key: torch.zeros(2) for key in keys}
    torch.save(state, tmp_path / "vit.pth")
    word = f"file/{tmp_path}/vit.pth@timm/{name}"
    (found,) = resolve_words(word)
    own = timm.get_pretrained_cfg("test_vit").mean
    assert found.input_spec
    assert found.input_spec.mean == {"own": own, "imagenet": MEAN}[expected] != {"own": MEAN, "imagenet": own}[expected]
    assert found.reading == "token"
    overrides = {"timm": {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}}
    (chosen,) = resolve_checkpoints(word, PLUGINS, REQUESTED, 32, overrides)
    assert chosen.input_spec
    assert chosen.input_spec.mean == (0.1, 0.2, 0.3)


@torch.no_grad()
def test_a_stem_of_3x3_with_pooling_can_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No tensor shows the pooling, so a setting of the encoder that the word names says it, and one line says so."""
    torch.manual_seed(0)
    theirs = resnet18().eval()
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    torch.save(theirs.state_dict(), tmp_path / "pooled.pth")
    torch.save(resnet18().state_dict(), tmp_path / "large.pth")
    solo = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    torch.save(layouts.solo(solo), tmp_path / "solo.ckpt")  # solo-learn has no pooling
    resolve_words(f"file/{tmp_path}/large.pth", f"file/{tmp_path}/solo.ckpt")
    assert not caplog.messages
    resolve_words(f"file/{tmp_path}/pooled.pth")
    advice = (
        "read without max-pool after the 3 x 3 stem; if yours has one, add @resnet18 and --set resnet18.stem=3x3+pool."
    )
    assert caplog.messages == [f"{tmp_path}/pooled.pth: {advice}"]
    caplog.clear()
    word = f"file/{tmp_path}/pooled.pth@resnet18"
    (found,) = resolve_checkpoints(word, PLUGINS, REQUESTED, 32, {"resnet18": {"stem": "3x3+pool"}})
    assert found.plugin
    assert found.changed_settings == {"stem": "3x3+pool"}
    assert not caplog.messages
    encoder = found.plugin.load()(32, **found.settings).eval()
    load_encoder(tmp_path / "pooled.pth", encoder)
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(encoder(x), theirs((x - encoder.mean) / encoder.std), atol=1e-4, rtol=1e-4)
