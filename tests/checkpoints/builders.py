"""Networks, encoders and checks that the tests of checkpoints share."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from sslbench.bench.checkpoints.registry import Checkpoint
from sslbench.bench.checkpoints.resolve import resolve_checkpoints, with_encoder_plugin
from sslbench.bench.checkpoints.store import load_encoder
from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders._resnet import ResidualEncoder
from sslbench.bench.errors import UserError
from sslbench.bench.plugins.discovery import FOLDERS, find_plugins

from .layouts import State

PLUGINS = {kind: find_plugins(kind) for kind in FOLDERS}
REQUESTED = with_encoder_plugin(Checkpoint(token="", method="", name=None, kind="file", encoder="convnet"), PLUGINS)


def resolve_words(*words: str, image_size: int = 32) -> list[Checkpoint]:
    """The checkpoints that words of --methods name, if --encoder names the default encoder."""
    return [found for word in words for found in resolve_checkpoints(word, PLUGINS, REQUESTED, image_size)]


def thin_resnet(seed: int = 0) -> ResNet:
    """torchvision's network with one thin block per group."""
    network = copy.deepcopy(initialised_resnet(seed))
    torch.manual_seed(seed)  # what a test draws next must not depend on whether the network was in the cache
    return network


@cache
def initialised_resnet(seed: int) -> ResNet:
    """The network that `thin_resnet` copies, because initialising millions of weights takes longer than copying."""
    torch.manual_seed(seed)
    network = ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=4)
    for name, value in network.named_buffers():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return network.eval()


def thin_resnet_state() -> State:
    """The tensors of `thin_resnet` without its classifier."""
    return {name: value for name, value in thin_resnet().state_dict().items() if not name.startswith("fc.")}


def thin_encoder() -> ResidualEncoder:
    """An encoder of the shape of `thin_resnet` with other weights."""
    return ResidualEncoder(thin_resnet(1), 224, channels=3, last_stride=2).eval()  # type: ignore[return-value]


def assert_refused(path: Path, encoder: Encoder, message: str) -> None:
    """Loading the file is one UserError line that begins with its path, and the encoder is unchanged."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(UserError, match=message) as refused:
        load_encoder(path, encoder)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
