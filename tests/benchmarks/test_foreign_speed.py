"""What loading a checkpoint adds to reading its file: the first row of each group is the bare read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from bench import checkpoints
from bench.encoders.resnet50 import ResNet50
from tests import layouts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["zip", "legacy"])
def checkpoint(request, tmp_path_factory):
    """MoCo's file: a query and a key encoder of ResNet-50, a queue and the optimiser's momentum."""
    torch.manual_seed(0)
    encoder = ResNet50(224)
    spelling = list(encoder.spellings())[1]
    state = {}
    for name, value in encoder.state_dict().items():
        known = next(ours for ours in spelling if name.startswith(ours))
        state[spelling[known] + name.removeprefix(known)] = value
    file = layouts.moco(state)
    file["state_dict"]["module.queue"] = torch.randn(128, 65536)
    file["optimizer"] = {"state": {n: {"momentum_buffer": value.float()} for n, value in enumerate(state.values())}}
    path = tmp_path_factory.mktemp("moco") / f"{request.param}.pth.tar"
    torch.save(file, path, _use_new_zipfile_serialization=request.param == "zip")
    return request.param, path, encoder


class TestLoading:
    """The file of two encoders, a queue and an optimiser."""

    def test_bare_read(self, benchmark, checkpoint):
        """torch.load alone."""
        kind, path, _ = checkpoint
        benchmark.group = f"loading ResNet-50 from MoCo's file, {kind}"
        benchmark.pedantic(lambda: torch.load(path, map_location="cpu", weights_only=True), rounds=5, warmup_rounds=1)

    def test_load(self, benchmark, checkpoint):
        """Reading, finding, checking and filling the encoder."""
        kind, path, encoder = checkpoint
        benchmark.group = f"loading ResNet-50 from MoCo's file, {kind}"
        benchmark.pedantic(lambda: checkpoints.load(path, encoder), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("checkpoint", ["legacy"], indirect=True)
def test_loading_adds_a_tenth_at_most(checkpoint: tuple[str, Path, ResNet50], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that must be read whole: seconds of a core beyond those in torch.load, at best of some."""
    _, path, encoder = checkpoint
    real, reading = torch.load, 0.0

    def timed(*words: object, **settings: object) -> object:
        nonlocal reading
        began = time.process_time()
        try:
            return real(*words, **settings)  # type: ignore[arg-type]
        finally:
            reading += time.process_time() - began

    monkeypatch.setattr(torch, "load", timed)
    ratios = []
    for _ in range(7):
        reading, began = 0.0, time.process_time()
        checkpoints.load(path, encoder)
        ratios.append((time.process_time() - began) / reading)
    assert min(ratios) <= 1.10, ratios
