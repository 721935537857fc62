"""Layouts: every project's file loads, computes what it should, and a damaged one is refused in its own sentence."""

from __future__ import annotations

import copy
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from sslbench.bench.checkpoints import safe_load as spec
from sslbench.bench.checkpoints.store import load
from sslbench.bench.encoders import Encoder, edges
from sslbench.bench.encoders._resnet import ResidualEncoder
from sslbench.bench.encoders.alexnet import AlexNet
from sslbench.bench.encoders.nin import NIN
from sslbench.bench.encoders.timm import Timm
from sslbench.bench.errors import UserError
from sslbench.bench.images.input_spec import InputSpec
from tests import layouts
from tests.layouts import State

WIDTHS = (4, 8, 6, 8, 4)


def residual(seed: int = 0) -> ResNet:
    """torchvision's network, a block a group and thin."""
    network = copy.deepcopy(drawn(seed))
    torch.manual_seed(seed)  # what a test draws next does not depend on which came first
    return network


@cache
def drawn(seed: int) -> ResNet:
    """What all are copied from: drawing millions of weights takes longer."""
    torch.manual_seed(seed)
    network = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=4)
    for name, value in network.named_buffers():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return network.eval()


def weights() -> State:
    """Its tensors without the classifier."""
    return {name: value for name, value in residual().state_dict().items() if not name.startswith("fc.")}


def empty() -> ResidualEncoder:
    """Our encoder of that shape with weights of its own."""
    return ResidualEncoder(residual(1), 224, channels=3, last_stride=2).eval()  # type: ignore[return-value]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", layouts.RESIDUAL, ids=lambda layout: layout.__name__)
def test_a_residual_network_of_any_layout_computes_the_same(
    layout: Callable[[State], Any], zipped: bool, tmp_path: Path
) -> None:
    """After loading, all four groups of blocks give what torchvision's network gives, statistics included."""
    network, encoder = residual(), empty()
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(layout(weights()), path, _use_new_zipfile_serialization=zipped)
    facts = load(path, encoder)
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


def blocks(**settings: Any) -> tuple[AlexNet, State, State]:
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


def by_hand(state: State, x: Tensor, *, stride: int, padding: int, groups: int, lrn: bool) -> Tensor:
    """AlexNet's conv5 from blocks as VISSL names them, a layer at a time."""
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
    """Each variant's conv5 is what its layers give one after the other, from the input that it wants."""
    layout, settings, wants = ALEXNETS[name]
    _, nested, flat = blocks(**settings)
    torch.save(layout(flat if layout is layouts.deepcluster else nested), tmp_path / "a.torch")
    torch.manual_seed(1)
    encoder = AlexNet(224, widths=WIDTHS, **settings).eval()
    if wants:
        encoder.with_input_spec(wants)
    load(tmp_path / "a.torch", encoder)
    x = torch.rand(2, 3, 99, 99)
    geometry = {key: settings.get(key, value) for key, value in GEOMETRY.items()}
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.features(x, ["conv5"])["conv5"], by_hand(nested, encoder.prepared(x), **geometry)
        )


def test_sobel_and_lightness_are_the_projects(tmp_path: Path) -> None:
    """DeepCluster's filter is [1 0 -1] by [1 2 1] of the channels' mean; VISSL's lightness is L* less 50."""
    x = torch.rand(1, 3, 5, 5)
    grey = F.pad(x.mean(1), (1, 1, 1, 1))[0]
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    for row in range(5):
        for column in range(5):
            window = grey[row : row + 3, column : column + 3]
            torch.testing.assert_close(edges(x)[0, 0, row, column], (window * kernel).sum())
            torch.testing.assert_close(edges(x)[0, 1, row, column], (window * kernel.T).sum())
    encoder = AlexNet(99, channels=1).with_input_spec(GREY)
    shades = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 99, 99)
    assert encoder.prepared(shades)[:, 0, 50, 50].tolist() == pytest.approx([-50, 50], abs=0.01)


def test_rotnets_nin_and_its_archive(tmp_path: Path) -> None:
    """NIN's named blocks load, also from the .tar.gz of their release, where the optimiser is passed over."""
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
    load(tmp_path / "CIFAR10_RotNet_NIN4blocks.tar.gz", encoder)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), source(x))
    assert not list(tmp_path.glob(".unpacked-*"))


TRANSFORMERS = (layouts.mocov3, layouts.mae, layouts.dino, layouts.plain, "mmpretrain")


@pytest.mark.parametrize("layout", TRANSFORMERS, ids=lambda layout: getattr(layout, "__name__", layout))
def test_a_transformer_of_any_layout_computes_the_same(layout: Any, tmp_path: Path) -> None:
    """Vision transformers under timm's names and under MMPretrain's."""
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
    load(tmp_path / "vit.pth", encoder)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), source(x))


def test_the_record_says_where_the_weights_were(tmp_path: Path) -> None:
    """Container, prefix and what was left out are told: of MoCo's file the key encoder, the head and the queue."""
    torch.save(layouts.moco(weights()), tmp_path / "moco.pth.tar")
    layout = load(tmp_path / "moco.pth.tar", empty())["layout"]
    assert layout["container"] == "state_dict"
    assert layout["prefix"] == "module.encoder_q."
    assert {"fc.0", "module.encoder_k", "module.queue"} <= set(layout["left_out"])


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, (f"touch {self.path}",)


def damaged(change: Callable[[State], State]) -> Callable[[Path, Any], None]:
    """A MoCo file whose tensors were changed."""

    def write(path: Path, file: Any) -> None:
        torch.save(file | {"state_dict": change(file["state_dict"])}, path)

    return write


def without_a_layer(state: State) -> State:
    return {name: value for name, value in state.items() if "encoder_q.layer3" not in name}


def of_another_shape(state: State) -> State:
    return state | {"module.encoder_q.layer2.0.conv2.weight": torch.zeros(2, 2, 3, 3)}


def half_prefixed(state: State) -> State:
    return {
        name.removeprefix("module.") if place % 2 and "encoder_q" in name else name: value
        for place, (name, value) in enumerate(state.items())
    }


def not_finite(state: State) -> State:
    name = "module.encoder_q.layer4.0.conv1.weight"
    return state | {name: state[name].index_fill(0, torch.tensor([3]), torch.nan)}


def deeper(state: State) -> State:
    return state | {"module.encoder_q.layer3.6.conv1.weight": torch.zeros(4, 4, 1, 1)}


def another_network(state: State) -> State:
    return {f"module.features.{n}.weight": torch.zeros(4, 4, 3, 3) for n in range(4)}


def truncated(path: Path, file: Any) -> None:
    torch.save(file, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_code(path: Path, file: Any) -> None:
    torch.save(file | {"lemniscate": Code(path.with_name("ran"))}, path)


def legacy_code(path: Path, file: Any) -> None:
    torch.save(file | {"x": Code(path.with_name("ran"))}, path, _use_new_zipfile_serialization=False)


def absurd(path: Path, file: Any) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1).expand(10**6, 10**6)}}, path)


def bomb(path: Path, file: Any) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))


def packed_bomb(path: Path, file: Any) -> None:
    head = tarfile.TarInfo("model_net")
    head.size = spec.LIMIT + 1
    path.write_bytes(gzip.compress(head.tobuf() + bytes(1024)))


def empty_file(path: Path, file: Any) -> None:
    path.touch()


def page(path: Path, file: Any) -> None:
    path.write_text("<html><body>404 Not Found</body></html>")


def noise(path: Path, file: Any) -> None:
    path.write_bytes(bytes(range(200, 256)))


def numbers_only(path: Path, file: Any) -> None:
    torch.save({"epoch": 3, "list": [1, 2]}, path)


def two_of_a_kind(path: Path, file: Any) -> None:
    state = weights()
    torch.save(layouts.under("left.", state) | layouts.under("right.", state), path)


DAMAGED: dict[str, tuple[Callable[[Path, Any], None], str]] = {
    "missing layer": (damaged(without_a_layer), r"7\d\.\d % of ResidualEncoder's tensors matched.*missing: layer3"),
    "wrong shape": (damaged(of_another_shape), r"of another shape: layer2\.0\.conv2\.weight \(2 x 2 x 3 x 3, expected"),
    "half prefix": (damaged(half_prefixed), "Half of its names have lost a part of the prefix"),
    "truncated": (truncated, "cut short"),
    "code": (with_code, r"holds code or objects \(posix\.system\), which are never run"),
    "code in an old file": (legacy_code, r"holds code or objects \(posix\.system\), which are never run"),
    "NaN": (damaged(not_finite), r"stages\.conv5\.0\.conv1\.weight holds values that are not finite"),
    "other architecture": (damaged(deeper), r"100\.0 % .*not of this encoder: module\.encoder_q\.layer3\.6\.conv1"),
    "another network": (damaged(another_network), r": 0 % of .*missing: .*in the file: module\.features\.0\.weight"),
    "empty": (empty_file, "is empty"),
    "text": (page, r"is text and no checkpoint \(it begins with b'<html>"),
    "noise": (noise, "of no known format"),
    "absurd shape": (absurd, r"claims the shape \(1000000, 1000000\)"),
    "zip bomb": (bomb, "would unpack to"),
    "packed bomb": (packed_bomb, "unpacks to more than"),
    "no tensors": (numbers_only, "holds no state dict"),
    "two encoders": (two_of_a_kind, r"two encoders in it fit as well, at ': left\.' and ': right\.'"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    """Each in its own sentence of one line; no code runs, and the encoder stays as it was."""
    write, told = DAMAGED[damage]
    path = tmp_path / "checkpoint.pth.tar"
    write(path, layouts.moco(weights()))
    encoder, before = empty(), empty().state_dict()
    with pytest.raises(UserError, match=told) as refused:
        load(path, encoder)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert not (tmp_path / "ran").exists()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_what_training_programs_keep_is_not_loaded(tmp_path: Path) -> None:
    """An argparse namespace beside the weights becomes an inert stand-in, whatever it holds."""
    path = tmp_path / "a.pth"
    torch.save(layouts.solo(weights()), path)
    kept = spec.loaded(path, mmap=True)["hyper_parameters"]
    assert isinstance(kept, spec.Inert)
    assert not kept
    assert not vars(kept)


def test_a_file_is_not_read_before_it_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the limit, a bomb and an absurd shape never reach memory: torch.load maps or is not called."""
    calls: list[dict[str, Any]] = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: (calls.append(k), real(*a, **k))[1])
    for name, write in (("bomb", bomb), ("absurd", absurd)):
        write(tmp_path / name, {})
        with pytest.raises(UserError):
            load(tmp_path / name, empty())
    assert [call.get("mmap") for call in calls] == [True], "the absurd file is mapped, the bomb not opened"
    monkeypatch.setattr(spec, "LIMIT", 10)
    with pytest.raises(UserError, match="more than any encoder"):
        load(tmp_path / "absurd", empty())
    assert all(call["weights_only"] for call in calls)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_weights_are_the_encoders_own(zipped: bool, tmp_path: Path) -> None:
    """The file may go, and what two names shared in it is shared no more."""
    state = weights()
    state["layer1.0.bn2.weight"] = state["layer1.0.bn1.weight"]
    path = tmp_path / "tied.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    encoder = empty()
    parameters = dict(encoder.named_parameters())
    load(path, encoder)
    assert all(parameters[name] is value for name, value in encoder.named_parameters()), "an optimiser may hold them"
    path.write_bytes(bytes(path.stat().st_size))
    torch.testing.assert_close(encoder.state_dict()["stages.conv1.0.weight"], state["conv1.weight"])
    first, second = (parameters[f"stages.conv2.1.0.bn{n}.weight"] for n in (1, 2))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_half_precision_is_brought_up(tmp_path: Path) -> None:
    """Weights in half precision fill an encoder in full precision."""
    state = weights()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    buffer = io.BytesIO()
    torch.save(halves, buffer)
    (tmp_path / "half.pt").write_bytes(buffer.getvalue())
    encoder: Encoder = empty()
    load(tmp_path / "half.pt", encoder)
    torch.testing.assert_close(encoder.state_dict()["stages.conv1.0.weight"], state["conv1.weight"].half().float())
