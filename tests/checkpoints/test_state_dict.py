"""Tests of finding encoders in files: each project's layout loads and computes what it should, others are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.checkpoints.store import load_encoder
from sslbench.bench.encoders import sobel_responses
from sslbench.bench.encoders.alexnet import AlexNet
from sslbench.bench.encoders.timm import Timm
from sslbench.bench.images.input_spec import InputSpec

from . import layouts
from .builders import assert_refused, thin_encoder, thin_resnet, thin_resnet_state
from .layouts import State

WIDTHS = (4, 8, 6, 8, 4)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", layouts.RESIDUAL, ids=lambda layout: layout.__name__)
def test_a_residual_network_of_any_layout_computes_the_same(
    layout: Callable[[State], Any], zipped: bool, tmp_path: Path
) -> None:
    """After loading, all four groups of blocks compute what torchvision's network does, batch statistics included."""
    network, encoder = thin_resnet(), thin_encoder()
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(layout(thin_resnet_state()), path, _use_new_zipfile_serialization=zipped)
    facts = load_encoder(path, encoder)
    assert facts.get("layout") or layout is layouts.sequential
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        maps = encoder.features(x, encoder.taps)
        y = network.maxpool(network.relu(network.bn1(network.conv1((x - encoder.mean) / encoder.std))))
        for tap, group in zip(
            ("conv2", "conv3", "conv4", "conv5"),
            (network.layer1, network.layer2, network.layer3, network.layer4),
            strict=True,
        ):
            y = group(y)
            torch.testing.assert_close(maps[tap], y, atol=1e-4, rtol=1e-4)


def alexnet_with_states(**settings: Any) -> tuple[AlexNet, State, State]:
    """An AlexNet with its parameters as VISSL's blocks name them, and as a flat list of layers does."""
    torch.manual_seed(0)
    encoder = AlexNet(224, widths=WIDTHS, **settings).eval()
    nested: State = {}
    flat: State = {}
    at = 0
    for block, tap in zip((0, 2, 4, 5, 6), encoder.stages, strict=True):
        at += tap in ("conv2", "conv3")
        learnt = [layer for layer in encoder.stages[tap].children() if list(layer.parameters())]  # type: ignore[union-attr]
        for number, layer in enumerate(learnt):
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                layer.running_mean.uniform_(-1, 1)
            for name, value in layer.state_dict().items():
                nested[f"{block}.{number}.{name}"] = value.clone()
                flat[f"{at}.{name}"] = value.clone()
            at += 1
        at += 1
    return encoder, nested, flat


def alexnet_layer_by_layer(state: State, x: Tensor, *, stride: int, padding: int, groups: int, lrn: bool) -> Tensor:
    """AlexNet's conv5, computed one layer at a time from parameters under VISSL's names."""
    for block, pad, step, towers in zip(
        (0, 2, 4, 5, 6), (padding, 2, 1, 1, 1), (stride, 1, 1, 1, 1), (1, groups, 1, groups, groups), strict=True
    ):
        if block in (2, 4):
            x = F.max_pool2d(x, 3, 2)
            x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75) if lrn else x
        x = F.conv2d(x, state[f"{block}.0.weight"], state[f"{block}.0.bias"], step, pad, groups=towers)
        if f"{block}.1.weight" in state:
            names = ("running_mean", "running_var", "weight", "bias")
            x = F.batch_norm(x, *(state[f"{block}.1.{name}"] for name in names))
        x = F.relu(x)
    return x


GEOMETRY: dict[str, Any] = {"stride": 4, "padding": 2, "groups": 1, "lrn": False}


GREY = InputSpec(size=99, crop=1.0, colour="lightness", mean=(50.0,), std=(1.0,))


ALEXNETS: dict[str, tuple[Callable[[State], Any], dict[str, Any], InputSpec | None]] = {
    "rotnet": (layouts.rotnet, {}, None),
    "vissl rotnet": (layouts.vissl_converted, {}, None),
    "vissl jigsaw": (
        layouts.vissl_converted,
        {"stride": 2, "padding": 0, "groups": 2, "lrn": True, "batch_norm": 3},
        None,
    ),
    "vissl colorization": (layouts.vissl_converted, {"channels": 1, "padding": 0, "groups": 2}, GREY),
    "deepcluster": (layouts.deepcluster, {"channels": 2}, InputSpec(size=99, crop=1.0, colour="sobel")),
}


@pytest.mark.parametrize("name", ALEXNETS)
def test_an_alexnet_of_any_layout_computes_the_same(name: str, tmp_path: Path) -> None:
    """Each variant's conv5 is what its layers compute one after the other from the input that it expects."""
    layout, settings, input_spec = ALEXNETS[name]
    _, nested, flat = alexnet_with_states(**settings)
    torch.save(layout(flat if layout is layouts.deepcluster else nested), tmp_path / "a.torch")
    torch.manual_seed(1)
    encoder = AlexNet(224, widths=WIDTHS, **settings).eval()
    if input_spec:
        encoder.with_input_spec(input_spec)
    load_encoder(tmp_path / "a.torch", encoder)
    x = torch.rand(2, 3, 99, 99)
    geometry = {key: settings.get(key, value) for key, value in GEOMETRY.items()}
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.features(x, ["conv5"])["conv5"],
            alexnet_layer_by_layer(nested, encoder.prepare_images(x), **geometry),
        )


def test_sobel_and_lightness_are_those_of_the_projects(tmp_path: Path) -> None:
    """DeepCluster's filter is [1 0 -1] by [1 2 1] of the channels' mean; VISSL's lightness is L* minus 50."""
    x = torch.rand(1, 3, 5, 5)
    grey = F.pad(x.mean(1), (1, 1, 1, 1))[0]
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    for row in range(5):
        for column in range(5):
            window = grey[row : row + 3, column : column + 3]
            torch.testing.assert_close(sobel_responses(x)[0, 0, row, column], (window * kernel).sum())
            torch.testing.assert_close(sobel_responses(x)[0, 1, row, column], (window * kernel.T).sum())
    encoder = AlexNet(99, channels=1).with_input_spec(GREY)
    shades = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 99, 99)
    assert encoder.prepare_images(shades)[:, 0, 50, 50].tolist() == pytest.approx([-50, 50], abs=0.01)


TRANSFORMERS = (layouts.mocov3, layouts.mae, layouts.dino, layouts.plain, "mmpretrain")


@pytest.mark.parametrize("layout", TRANSFORMERS, ids=lambda layout: getattr(layout, "__name__", layout))
def test_a_transformer_of_any_layout_computes_the_same(layout: Any, tmp_path: Path) -> None:
    """Vision transformers load under timm's names and under MMPretrain's."""
    torch.manual_seed(0)
    source, encoder = (Timm(32, name="test_vit").eval() for _ in range(2))
    state = {name.removeprefix("network."): value for name, value in source.state_dict().items()}
    if layout == "mmpretrain":
        for old, new in (
            *(("blocks.", "layers."), ("patch_embed.proj.", "patch_embed.projection."), (".norm1.", ".ln1.")),
            *((".norm2.", ".ln2."), (".mlp.fc1.", ".ffn.layers.0.0."), (".mlp.fc2.", ".ffn.layers.1.")),
        ):
            state = {name.replace(old, new): value for name, value in state.items()}
        state = {name.replace("norm.", "ln1.") if name.startswith("norm.") else name: v for name, v in state.items()}
    torch.save(layouts.mmselfsup(state) if layout == "mmpretrain" else layout(state), tmp_path / "vit.pth")
    load_encoder(tmp_path / "vit.pth", encoder)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), source(x))


def test_the_record_says_where_the_weights_were(tmp_path: Path) -> None:
    """Container, prefix and unused names are recorded: of MoCo's file the key encoder, the head and the queue."""
    torch.save(layouts.moco(thin_resnet_state()), tmp_path / "moco.pth.tar")
    layout = load_encoder(tmp_path / "moco.pth.tar", thin_encoder())["layout"]
    assert layout["container"] == "state_dict"
    assert layout["prefix"] == "module.encoder_q."
    assert {"fc.0", "module.encoder_k", "module.queue"} <= set(layout["left_out"])


def with_tensors(change: Callable[[State], State]) -> Callable[[Path, Any], None]:
    """A MoCo file whose tensors were changed."""

    def write(path: Path, file: Any) -> None:
        torch.save(file | {"state_dict": change(file["state_dict"])}, path)

    return write


def without_a_layer(state: State) -> State:
    return {name: value for name, value in state.items() if "encoder_q.layer3" not in name}


def with_another_shape(state: State) -> State:
    return state | {"module.encoder_q.layer2.0.conv2.weight": torch.zeros(2, 2, 3, 3)}


def without_half_of_the_prefixes(state: State) -> State:
    return {
        name.removeprefix("module.") if place % 2 and "encoder_q" in name else name: value
        for place, (name, value) in enumerate(state.items())
    }


def with_nan(state: State) -> State:
    name = "module.encoder_q.layer4.0.conv1.weight"
    return state | {name: state[name].index_fill(0, torch.tensor([3]), torch.nan)}


def with_more_blocks(state: State) -> State:
    return state | {"module.encoder_q.layer3.6.conv1.weight": torch.zeros(4, 4, 1, 1)}


def another_network(state: State) -> State:
    return {f"module.features.{n}.weight": torch.zeros(4, 4, 3, 3) for n in range(4)}


def two_encoders(path: Path, file: Any) -> None:
    state = thin_resnet_state()
    torch.save(layouts.under("left.", state) | layouts.under("right.", state), path)


MISMATCHES: dict[str, tuple[Callable[[Path, Any], None], str]] = {
    "missing layer": (
        with_tensors(without_a_layer),
        r"7\d\.\d % of ResidualEncoder's tensors matched.*missing: layer3",
    ),
    "wrong shape": (
        with_tensors(with_another_shape),
        r"of another shape: layer2\.0\.conv2\.weight \(2 x 2 x 3 x 3, expected",
    ),
    "half prefix": (with_tensors(without_half_of_the_prefixes), "Some of its names lack a part of the prefix"),
    "NaN": (with_tensors(with_nan), r"stages\.conv5\.0\.conv1\.weight holds values that are not finite"),
    "other architecture": (
        with_tensors(with_more_blocks),
        r"100\.0 % .*not of this encoder: module\.encoder_q\.layer3\.6\.conv1",
    ),
    "another network": (
        with_tensors(another_network),
        r": 0 % of .*missing: .*in the file: module\.features\.0\.weight",
    ),
    "two encoders": (two_encoders, r"at 'left' and 'right'; choose one, for example \S+#left"),
}


@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_a_file_that_does_not_match_is_refused(mismatch: str, tmp_path: Path) -> None:
    """Each kind of mismatch has its own message, and the encoder is unchanged."""
    write, message = MISMATCHES[mismatch]
    path = tmp_path / "checkpoint.pth.tar"
    write(path, layouts.moco(thin_resnet_state()))
    assert_refused(path, thin_encoder(), message)
