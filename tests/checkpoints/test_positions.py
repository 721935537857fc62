"""Tests of position embeddings of another size: they are interpolated as timm does, and a matching size comes first."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from sslbench.bench.checkpoints.positions import can_resize, prefix_tokens
from sslbench.bench.checkpoints.store import load_encoder
from sslbench.bench.encoders.timm import Timm

from .builders import resolve_words


def test_another_grid_of_patches_is_interpolated_as_timm_does(tmp_path: Path) -> None:
    """A network saved for 160 pixels computes at 96 what timm computes, and the record says what was resized."""
    torch.manual_seed(0)
    source = timm.create_model("test_vit", num_classes=0).eval()
    torch.save({"state_dict": source.state_dict()}, tmp_path / "a.pth")
    expected = timm.create_model("test_vit", num_classes=0, img_size=96).eval()
    expected.load_state_dict(checkpoint_filter_fn(source.state_dict(), expected))
    encoder = Timm(96, name="test_vit").eval()
    layout = load_encoder(tmp_path / "a.pth", encoder)["layout"]
    assert layout == {"container": "state_dict", "resized": ["network.pos_embed"]}
    x = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder.network.forward_features(x), expected.forward_features(x))


def test_the_size_of_the_file_comes_first(tmp_path: Path) -> None:
    """A file of 32 pixels is not enlarged to the library's 160, although its positions could be interpolated."""
    torch.save(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), tmp_path / "small.pth")
    torch.save(timm.create_model("test_vit", num_classes=0, img_size=48).state_dict(), tmp_path / "other.pth")
    small, other = resolve_words(*(f"file/{tmp_path}/{name}.pth@timm/test_vit" for name in ("small", "other")))
    assert small.input_spec is None, "the data set's own 32 pixels"
    assert other.input_spec
    assert other.input_spec.size == 160, "as timm does"


def test_only_square_grids_of_the_same_width_fit() -> None:
    """Class and distillation tokens are recognised; other widths and other tensors are not interpolated."""
    assert (prefix_tokens(197, 50), prefix_tokens(196, 49), prefix_tokens(198, 51)) == (1, 0, 2)
    assert prefix_tokens(197, 49) is None
    assert can_resize("pos_embed", torch.zeros(1, 197, 8), (1, 50, 8))
    assert not can_resize("pos_embed", torch.zeros(1, 197, 8), (1, 50, 4))
    assert not can_resize("blocks.0.table", torch.zeros(1, 197, 8), (1, 50, 8))
