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
