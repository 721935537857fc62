"""Encoders: what taps are read, and that reading changes nothing; the folder listing is the list."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders import Encoder
from sslbench.bench.errors import UserError
from sslbench.bench.plugins.discovery import plugins

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "alexnet": [{}, {"batch_norm": 3, "lrn": True, "groups": 2, "widths": (96, 256, 384, 384, 256)}],
    "nin": [{"blocks": 3}, {"blocks": 5}],
    "own": [{"name": "tests.test_encoders:network"}],
    "resnet50": [{"last_stride": 1}],
    "torchvision": [{"name": "shufflenet_v2_x0_5"}],
    "timm": [{"name": "mobilenetv3_small_050"}, {"name": "vit_tiny_patch16_224"}],
    "vit": [{"width": 16}, {"patch": 8, "width": 12, "depth": 7, "heads": 3}],
}
SIZES = {"alexnet": 64}
CASES = [
    pytest.param(plugin, settings, id="-".join([name, *(str(value) for value in settings.values())]))
    for name, plugin in plugins("encoder").items()
    for settings in SETTINGS.get(name, [{}])
]


def network() -> nn.Module:
    """One of a user's own: maps, tokens and a vector."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 4, 3, 2, 1),
        nn.Flatten(2),
        nn.AdaptiveAvgPool1d(6),
    )


def built(plugin: Any, settings: dict[str, Any]) -> Encoder:
    torch.manual_seed(0)
    return plugin.load()(SIZES.get(plugin.name, 32), **settings)


@pytest.fixture
def images(tiny: Dataset, request: pytest.FixtureRequest) -> torch.Tensor:
    """Three uint8 images of the size that the encoder at hand takes."""
    factor = SIZES.get(request.node.callspec.params["plugin"].name, 32) // 32
    return tiny.train.images[:3].repeat_interleave(factor, 2).repeat_interleave(factor, 3)


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_an_encoder_can_be_read(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """Taps come in order, as wide as told; uint8 and floats, one tap or all, give the same numbers."""
    encoder = built(plugin, settings).eval()
    layers = [f"conv{n}" for n in range(1, 6)]
    named = {"pixels": ["pixels"], "own": ["0", "1", "2", "3", "4"]}.get(plugin.name)
    assert list(encoder.taps) in ([named] if named else [layers[:3], layers[:4], layers])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():
        maps = encoder.features(images, encoder.taps)
        embedding = encoder(images)
        again = encoder(images.float() / 255)
        alone = {tap: encoder.features(images, [tap]) for tap in (encoder.taps[0], encoder.taps[-1])}
    assert list(maps) == list(encoder.taps)
    assert {tap: features.shape[:2] for tap, features in maps.items()} == {
        tap: (3, width) for tap, width in encoder.widths.items()
    }
    sides = [features.shape[-1] for features in maps.values()]
    assert sides == sorted(sides, reverse=True)
    assert all(features.ndim == 4 and features.isfinite().all() for features in maps.values())
    assert embedding.shape == (3, encoder.dim)
    torch.testing.assert_close(embedding, maps[encoder.taps[-1]].mean((2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(embedding, again)
    for tap, found in alone.items():
        assert list(found) == [tap]
        torch.testing.assert_close(found[tap], maps[tap])
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_a_tap_is_not_overwritten(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """A tap's features are not changed by the layers that run after it (an in-place ReLU would)."""
    encoder = built(plugin, settings).eval()
    copies = {}
    with torch.no_grad():
        kept = {tap: (features, copies.setdefault(tap, features.clone()))[0] for tap, features in encoder.maps(images)}
    assert all(torch.equal(features, copies[tap]) for tap, features in kept.items())


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_low_precision_is_finite(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """A training pass under bf16 autocast gives finite features near those of fp32."""
    encoder = built(plugin, settings).eval()
    with torch.no_grad():
        exact = encoder(images)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = encoder(images)
    assert coarse.isfinite().all()
    assert (coarse.float() - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_an_encoder_is_checked_on_no_device(plugin: Any, settings: dict[str, Any]) -> None:
    """On the meta device an encoder builds in no memory, with the same names, shapes and taps."""
    with torch.device("meta"):
        empty = built(plugin, settings)
    real = built(plugin, settings)
    assert {value.device.type for value in (*empty.parameters(), *empty.buffers())} == {"meta"}
    assert {name: value.shape for name, value in empty.state_dict().items()} == {
        name: value.shape for name, value in real.state_dict().items()
    }
    assert empty.widths == real.widths
    assert not {"mean", "std"} & real.state_dict().keys()


@pytest.mark.parametrize(
    ("plugin", "settings"), [case for case in CASES if not hasattr(built(*case.values), "network")]
)
def test_reading_stops_at_the_deepest_tap(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """Stages beyond the deepest tap asked for do not run."""
    encoder = built(plugin, settings).eval()
    ran: list[str] = []
    for tap, stage in encoder.stages.items():
        stage.register_forward_hook(lambda *_, tap=tap: ran.append(tap))
    found = encoder.features(images, reversed(encoder.taps[:2]))
    assert list(found) == ran == list(encoder.taps[:2])


@pytest.mark.parametrize("size", [32, 128])
def test_residual_stems(size: int) -> None:
    """Small images meet a 3 x 3 stem of stride 1, large ones the paper's of stride 2 and a pooling."""
    encoder = plugins("encoder")["resnet18"].load()(size).eval()
    with torch.no_grad():
        maps = encoder.features(torch.rand(1, 3, size, size), ["conv1", "conv2"])
    assert maps["conv1"].shape[-1] == (32 if size == 32 else 64)
    assert maps["conv2"].shape[-1] == 32


def test_a_vision_transformer_sees_patches(tiny: Dataset) -> None:
    """Its maps hold the patches row by row; it sees some of them alone as it would if the others were not there."""
    torch.manual_seed(0)
    encoder = plugins("encoder")["vit"].load()(32, width=16).eval()
    image = tiny.train.images[:1]
    with torch.no_grad():
        tokens = encoder.tokens(image)
        assert tokens.shape == (1, 64, 16)
        whole = encoder.features(image, ["conv5"])["conv5"]
        torch.testing.assert_close(whole.flatten(2).transpose(1, 2), encoder.encoded(tokens))
        other = image.clone()
        other[..., 4:8, 8:12] = 255 - other[..., 4:8, 8:12]  # the patch in row 1, column 2
        changed = (encoder.tokens(other) != tokens).any(2).flatten().nonzero().flatten()
        assert changed.tolist() == [1 * 8 + 2]
        rest = [place for place in range(64) if place != 10]
        assert torch.equal(encoder.encoded(encoder.tokens(other)[:, rest]), encoder.encoded(tokens[:, rest]))
        blank = encoder.tokens(torch.zeros_like(image))  # differ by their places alone
        assert len(blank[0].unique(dim=0)) == 64


def test_a_vision_transformer_sees_views_of_any_size() -> None:
    """Larger and smaller views than it was built for have maps to match."""
    encoder = plugins("encoder")["vit"].load()(32, width=16)
    for height, width in ((8, 8), (64, 64), (16, 24)):
        maps = encoder.features(torch.rand(2, 3, height, width), ["conv1"])["conv1"]
        assert maps.shape == (2, 16, height // 4, width // 4)


def test_normalisation_lives_in_the_encoder() -> None:
    """The first layer input_mode (images - mean) / std per channel, channels last."""
    encoder = Encoder(mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    seen = encoder.prepared(torch.full((2, 3, 4, 4), 51, dtype=torch.uint8))
    assert seen[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.0, -0.05])
    assert seen.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "size", "settings", "told"),
    [
        ("convnet", 32, {"width": 0}, "convnet.width"),
        ("alexnet", 32, {}, "--image-size"),
        ("alexnet", 64, {"widths": (1, 2)}, "alexnet.widths"),
        ("alexnet", 64, {"groups": 3}, "alexnet.groups"),
        ("nin", 32, {"blocks": 2}, "nin.blocks"),
        ("vit", 32, {"patch": 5}, "vit.patch"),
        ("vit", 32, {"depth": 4}, "vit.depth"),
        ("vit", 32, {"heads": 0}, "vit.heads"),
        ("vit", 32, {"width": 10, "heads": 2}, "vit.width"),
        ("vit", 32, {"width": 16, "heads": 3}, "vit.width"),
        ("timm", 32, {"name": "resnet81"}, "Did you mean 'resnet"),
    ],
)
def test_bad_settings_are_refused(name: str, size: int, settings: dict[str, Any], told: str) -> None:
    """A setting out of range is a UserError that names it."""
    with pytest.raises(UserError, match=told):
        plugins("encoder")[name].load()(size, **settings)


def test_training_updates_batch_statistics_and_evaluation_does_not(tiny: Dataset) -> None:
    """The check above has something to see: in training mode the running means do move."""
    encoder = plugins("encoder")["convnet"].load()(32)
    norm = next(module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d))
    encoder.eval()(tiny.train.images[:4])
    assert norm.running_mean.abs().sum() == 0
    encoder.train()(tiny.train.images[:4])
    assert norm.running_mean.abs().sum() > 0
