"""Tests of hints: a file that nothing usual fits is answered with the encoder that its tensors speak for."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from torchvision import models

from sslbench.bench.checkpoints import detect
from sslbench.bench.checkpoints.hints import suggest_encoder
from sslbench.bench.checkpoints.match import Match
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError

from .builders import resolve_words


def meta_state(library: str, name: str) -> dict[str, Tensor]:
    """Names and shapes of a library's network."""
    with torch.device("meta"):
        network = timm.create_model(name) if library == "timm" else models.get_model(name, weights=None)
    return network.state_dict()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "encoder",
    [
        *("timm/vit_tiny_patch16_224", "timm/vit_base_patch32_224", "timm/vit_small_patch14_dinov2"),
        *("timm/vit_base_patch14_reg4_dinov2", "timm/vit_base_patch32_clip_quickgelu_224"),
        *("torchvision/resnet34", "torchvision/resnet101", "torchvision/vit_b_16"),
    ],
)
def test_the_network_is_suggested(encoder: str) -> None:
    """Width, patches, tokens and depth lead to the library's name of the network."""
    library, _, name = encoder.partition("/")
    assert suggest_encoder({"model": meta_state(library, name)}) == encoder
    assert suggest_encoder({"": {"x.weight": torch.ones(2)}}) == ""


def test_the_error_has_the_hint(tmp_path: Path) -> None:
    """The command in the error works."""
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(UserError) as refused:
        resolve_words(f"file/{tmp_path}/vit.pth")
    word = str(refused.value).rpartition("--methods ")[2].removesuffix(".")
    assert word == f"file/{tmp_path}/vit.pth@timm/vit_tiny_patch16_224"
    assert resolve_words(word)[0].encoder == "timm/vit_tiny_patch16_224"


def test_tables_of_relative_positions_are_not_interpolated() -> None:
    """The remedy for a Swin transformer of another window is the network that has the file's window."""
    tables = [f"layers.{n}.attn.relative_position_bias_table (225 x 3, expected 169 x 3)" for n in (0, 1)]
    closest = Match("", "", {}, [], tables, [], [])
    with pytest.raises(UserError, match="a network with the file's own input and window size") as refused:
        detect.refuse(Path("swin.pth"), {"": {}}, closest, ConvNet(32), "")
    assert "torchvision/resnet34" not in str(refused.value)


def test_register_tokens_are_not_ignored(tmp_path: Path) -> None:
    """A network with them is not read as the one without them, whose other tensors are the same."""
    state = timm.create_model("test_vit").state_dict()
    torch.save(state, tmp_path / "without.pth")
    torch.save(state | {"reg_token": torch.zeros(1, 4, 64)}, tmp_path / "with.pth")
    assert resolve_words(f"file/{tmp_path}/without.pth@timm/test_vit")[0].encoder == "timm/test_vit"
    with pytest.raises(UserError, match="not of this encoder: reg_token"):
        resolve_words(f"file/{tmp_path}/with.pth@timm/test_vit")
