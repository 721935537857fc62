"""The overhead of loading a checkpoint over reading its file, which is the first row of each group."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.checkpoints import store as checkpoints
from sslbench.bench.encoders.resnet50 import ResNet50
from tests.checkpoints import layouts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["zip", "legacy"])
def checkpoint(request, tmp_path_factory):
    """MoCo's file: a query and a key encoder of ResNet-50, a queue and the optimiser's momentum."""
    torch.manual_seed(0)
    encoder = ResNet50(224)
    spelling = list(encoder.key_mappings())[1]
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
        benchmark.pedantic(lambda: torch.load(path, map_location="cpu", weights_only=True), rounds=20, warmup_rounds=2)

    def test_load(self, benchmark, checkpoint):
        """Reading, finding, checking and filling the encoder."""
        kind, path, encoder = checkpoint
        benchmark.group = f"loading ResNet-50 from MoCo's file, {kind}"
        benchmark.pedantic(lambda: checkpoints.load_encoder(path, encoder), rounds=20, warmup_rounds=2)
