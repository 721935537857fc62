"""Tests of exported encoders: the code on a model card loads the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sslbench.bench.checkpoints.export import export_encoder, loading_code
from sslbench.bench.checkpoints.store import load_encoder, save_encoder
from sslbench.bench.cli import main
from sslbench.bench.encoders import Encoder, weights_hash
from sslbench.bench.encoders._input_mode import encoder_for_input_mode
from sslbench.bench.encoders.convnet import ConvNet

from .builders import PLUGINS, resolve_words


def test_an_exported_encoder_loads_into_torchvision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The code on the card loads the file into torchvision's network, which computes the same as our encoder."""
    words = ["--methods", "rotnet", "--encoder", "resnet18", "--set", "recipe.views=64", "--set", "recipe.batch_size=8"]
    words += ["--set", "synthetic.train=16", "--set", "synthetic.test=10", "--results", str(tmp_path)]
    assert main(["export", *words, "--out", str(tmp_path / "out")]) == 0
    (file,), (card,) = (list((tmp_path / "out").glob(ending)) for ending in ("*.safetensors", "*.md"))
    text = card.read_text()
    for part in ("# rotnet, resnet18, pretrained on synthetic", "views = 64", "angles = [0, 90, 180, 270]", "commit"):
        assert part in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    names: dict[str, nn.Module] = {}
    exec(code[1].replace(file.name, str(file)), names)
    (found,) = resolve_words(f"file/{file}")
    assert found.plugin
    encoder = found.plugin.load()(32, **found.settings)
    load_encoder(file, encoder)
    made = names["network"].eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), made((x - encoder.mean) / encoder.std), atol=1e-4, rtol=1e-4)


def test_the_loading_code_of_an_encoder_of_ours_runs(tmp_path: Path) -> None:
    """For an encoder that no library has, the code on the card builds it with this package and loads the file."""
    encoder = ConvNet(32)
    save_encoder(tmp_path / "a.safetensors", encoder, {})
    names: dict[str, nn.Module] = {}
    exec("\n".join(loading_code(encoder, "convnet", {}, 32, str(tmp_path / "a.safetensors"))), names)
    assert weights_hash(names["network"]) == weights_hash(encoder)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "image_size", "settings"),
    [
        *(("convnet", 32, {"width": 8}), ("alexnet", 96, {"groups": 2}), ("nin", 32, {"blocks": 3}), ("vit", 32, {})),
        *(("resnet18", 32, {}), ("resnet18", 128, {}), ("resnet18", 128, {"last_stride": 1})),
        *(
            ("resnet18", 32, {"stem_padding": 2}),
            ("resnet18", 32, {"stem": "3x3+pool"}),
            ("resnet50", 64, {}),
            ("torchvision/vit_b_32", 64, {}),
        ),
        *(("timm/test_vit", 32, {}), ("timm/test_vit", 96, {"heads": 4}), ("timm/test_resnet", 64, {})),
        *(("timm/test_convnext", 64, {}), ("timm/test_vit2", 64, {}), ("torchvision/shufflenet_v2_x0_5", 64, {})),
    ],
)
def test_the_loading_code_of_every_encoder_runs(
    name: str, image_size: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    """The code on the card builds a network with exactly the file's tensors, for any encoder, size and settings."""
    plugin, _, network = name.partition("/")
    settings |= {"name": network} if network else {}
    torch.manual_seed(0)
    encoder = PLUGINS["encoder"][plugin].load()(image_size, **settings)
    values = PLUGINS["encoder"][plugin].defaults | settings
    assert_card_loads(encoder, name, values, image_size, tmp_path)


@pytest.mark.parametrize("mode", ["lightness", "halves"])
def test_the_loading_code_keeps_the_colours(mode: str, tmp_path: Path) -> None:
    """An encoder that sees lightness, or lightness and chroma, sees the same after loading."""
    settings = {"width": 8}
    encoder = encoder_for_input_mode(ConvNet, mode, 32, settings)
    loaded = assert_card_loads(encoder, "convnet", settings, 32, tmp_path)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(x), encoder.eval()(x))


def assert_card_loads(
    encoder: Encoder, name: str, settings: dict[str, Any], image_size: int, folder: Path
) -> nn.Module:
    """Exports the encoder, runs the code on its card, compares the tensors, and returns the network."""
    metadata = {"dataset": "d", "method": "m", "recipe": {"preset": "small", "seed": 0}, "settings": {}}
    file, card = export_encoder(encoder, name, settings, image_size, metadata, [], folder)
    code = re.search(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    assert code
    names: dict[str, nn.Module] = {}
    exec(code[1].replace(file.name, str(file)), names)
    found = sorted(names["network"].state_dict().items(), key=lambda item: item[0].removeprefix("network."))
    assert len(found) == len(load_file(file))
    for (_, value), (_, expected) in zip(found, sorted(load_file(file).items()), strict=True):
        assert torch.equal(value, expected)
    return names["network"]
