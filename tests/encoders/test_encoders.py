"""Tests that every encoder in the folder passes: taps, widths, precision, and features that change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders import Encoder, select_colour_part
from sslbench.bench.errors import UserError
from sslbench.bench.images.colour import lab_to_rgb, rgb_to_lab
from sslbench.bench.plugins.discovery import find_plugins
from tests.builders import plugins_under_test

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "alexnet": [{}, {"batch_norm": 3, "lrn": True, "groups": 2, "widths": (96, 256, 384, 384, 256)}],
    "nin": [{"blocks": 3}, {"blocks": 5}],
    "own": [{"name": "tests.encoders.test_encoders:custom_network"}],
    "resnet50": [{"last_stride": 1}],
    "torchvision": [{"name": "shufflenet_v2_x0_5"}],
    "timm": [{"name": "mobilenetv3_small_050"}, {"name": "vit_tiny_patch16_224"}],
    "vit": [{"width": 16}, {"patch": 8, "width": 12, "depth": 7, "heads": 3}],
}
SIZES = {"alexnet": 64}
CASES = [
    pytest.param(plugin, settings, id="-".join([name, *(str(value) for value in settings.values())]))
    for name, plugin in plugins_under_test("encoder").items()
    for settings in SETTINGS.get(name, [{}])
]


def custom_network() -> nn.Module:
    """A network as a user may write it: its modules return feature maps, tokens and a vector."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 4, 3, 2, 1),
        nn.Flatten(2),
        nn.AdaptiveAvgPool1d(6),
    )


def build(plugin: Any, settings: dict[str, Any]) -> Encoder:
    """The encoder with seeded weights for the size in SIZES, or 32 pixels."""
    torch.manual_seed(0)
    return plugin.load()(SIZES.get(plugin.name, 32), **settings)


@pytest.fixture
def images(tiny: Dataset, request: pytest.FixtureRequest) -> torch.Tensor:
    """Three uint8 images of the size for which the tested encoder is built."""
    factor = SIZES.get(request.node.callspec.params["plugin"].name, 32) // 32
    return tiny.train.images[:3].repeat_interleave(factor, 2).repeat_interleave(factor, 3)


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_features_at_all_taps(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """Taps are ordered and have the declared widths; uint8 and floats, one tap or all, give the same features."""
    encoder = build(plugin, settings).eval()
    layers = [f"conv{n}" for n in range(1, 6)]
    special = {"pixels": ["pixels"], "own": ["0", "1", "2", "3", "4"]}.get(plugin.name)
    assert list(encoder.taps) in ([special] if special else [layers[:3], layers[:4], layers])
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
    """Later layers do not change a tap's features, as an in-place ReLU would."""
    encoder = build(plugin, settings).eval()
    copies = {}
    with torch.no_grad():
        originals = {}
        for tap, features in encoder.iter_features(images):
            originals[tap], copies[tap] = features, features.clone()
    assert all(torch.equal(features, copies[tap]) for tap, features in originals.items())


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_low_precision_is_finite(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """A training pass under bf16 autocast gives finite features near those of fp32."""
    encoder = build(plugin, settings).eval()
    with torch.no_grad():
        exact = encoder(images)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = encoder(images)
    assert coarse.isfinite().all()
    assert (coarse.float() - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize(("plugin", "settings"), CASES)
def test_an_encoder_is_the_same_on_the_meta_device(plugin: Any, settings: dict[str, Any]) -> None:
    """On the meta device an encoder needs no memory and has the same parameter names, shapes and taps."""
    with torch.device("meta"):
        empty = build(plugin, settings)
    real = build(plugin, settings)
    assert {value.device.type for value in (*empty.parameters(), *empty.buffers())} == {"meta"}
    assert {name: value.shape for name, value in empty.state_dict().items()} == {
        name: value.shape for name, value in real.state_dict().items()
    }
    assert empty.widths == real.widths
    assert not {"mean", "std"} & real.state_dict().keys()


@pytest.mark.parametrize(
    ("plugin", "settings"), [case for case in CASES if not hasattr(build(*case.values), "network")]
)
def test_reading_stops_at_the_deepest_tap(plugin: Any, settings: dict[str, Any], images: torch.Tensor) -> None:
    """Stages after the deepest requested tap do not run."""
    encoder = build(plugin, settings).eval()
    ran: list[str] = []
    for tap, stage in encoder.stages.items():
        stage.register_forward_hook(lambda *_, tap=tap: ran.append(tap))
    found = encoder.features(images, reversed(encoder.taps[:2]))
    assert list(found) == ran == list(encoder.taps[:2])


def test_the_encoder_normalises_images() -> None:
    """The first layer receives (images - mean) / std per channel, in the channels-last memory format."""
    encoder = Encoder(mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    prepared = encoder.prepare_images(torch.full((2, 3, 4, 4), 51, dtype=torch.uint8))
    assert prepared[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.0, -0.05])
    assert prepared.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "size", "settings", "message"),
    [
        ("alexnet", 32, {}, "--image-size"),
        ("alexnet", 64, {"widths": (1, 2)}, "alexnet.widths"),
        ("vit", 32, {"patch": 5}, "vit.patch"),
        ("vit", 32, {"width": 16, "heads": 3}, "vit.width"),
        ("timm", 32, {"name": "resnet81"}, "Did you mean 'resnet"),
    ],
)
def test_bad_settings_are_refused(name: str, size: int, settings: dict[str, Any], message: str) -> None:
    """Settings that do not fit together, or to the images, are a UserError that names the setting."""
    with pytest.raises(UserError, match=message):
        find_plugins("encoder")[name].load()(size, **settings)


def test_training_updates_batch_statistics_and_evaluation_does_not(tiny: Dataset) -> None:
    """The comparison in the first test can fail: in training mode the running means change."""
    encoder = find_plugins("encoder")["convnet"].load()(32)
    norm = next(module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d))
    encoder.eval()(tiny.train.images[:4])
    assert norm.running_mean.abs().sum() == 0
    encoder.train()(tiny.train.images[:4])
    assert norm.running_mean.abs().sum() > 0


def test_lightness_and_chroma_are_separated() -> None:
    """Lightness is the same for an image and its grey version; chroma is the same for all greys."""
    images = torch.rand(2, 3, 8, 8)
    grey_lab = rgb_to_lab(images)
    grey_lab[:, 1:] = 0
    grey = lab_to_rgb(grey_lab)
    torch.testing.assert_close(
        select_colour_part(grey, "lightness"), select_colour_part(images, "lightness"), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(select_colour_part(grey, "chroma"), torch.full((2, 3, 8, 8), 0.5), atol=1e-4, rtol=0)
    for part in ("lightness", "chroma"):
        assert 0 <= select_colour_part(images, part).min() <= select_colour_part(images, part).max() <= 1
