"""Tests of the residual networks' stems."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.encoders.resnet18 import ResNet18


@pytest.mark.parametrize("size", [32, 128])
def test_residual_stems(size: int) -> None:
    """Small images get a 3 x 3 stem of stride 1; large ones get the paper's, with stride 2 and pooling."""
    encoder = ResNet18(size).eval()
    with torch.no_grad():
        maps = encoder.features(torch.rand(1, 3, size, size), ["conv1", "conv2"])
    assert maps["conv1"].shape[-1] == (32 if size == 32 else 64)
    assert maps["conv2"].shape[-1] == 32


@pytest.mark.parametrize(
    ("stem", "sides"), [("auto", [32, 32]), ("3x3", [32, 32]), ("3x3+pool", [32, 16]), ("7x7", [16, 8])]
)
def test_the_stem_is_a_setting(stem: str, sides: list[int]) -> None:
    """A stem of 3 x 3 may be followed by max-pooling, which no tensor of a checkpoint shows."""
    encoder = ResNet18(32, stem=stem).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        maps = encoder.features(torch.rand(1, 3, 32, 32), ["conv1", "conv2"])
    assert [maps[tap].shape[-1] for tap in ("conv1", "conv2")] == sides
