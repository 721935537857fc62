"""Tests of exported encoders: the code on a model card loads the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from sslbench.bench.checkpoints.export import loading_code
from sslbench.bench.checkpoints.store import load_encoder, save_encoder
from sslbench.bench.cli import main
from sslbench.bench.encoders import weights_hash
from sslbench.bench.encoders.convnet import ConvNet

from .builders import resolve_words


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
