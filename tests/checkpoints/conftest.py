"""Fixtures of all tests of checkpoints."""

from __future__ import annotations

from typing import Any

import pytest

from sslbench.bench.checkpoints import detect
from sslbench.bench.checkpoints.registry import Checkpoint
from sslbench.bench.encoders import Encoder

SKELETONS: dict[Any, Encoder] = {}
build_skeleton = detect.build_skeleton


@pytest.fixture(autouse=True)
def shared_skeletons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds each encoder on the meta device once for all tests, which only read it: some candidates are large."""

    def shared_skeleton(checkpoint: Checkpoint, image_size: int) -> Encoder:
        assert checkpoint.plugin
        key = (checkpoint.plugin.path, str(checkpoint.settings), checkpoint.input_spec, image_size)
        if key not in SKELETONS:
            SKELETONS[key] = build_skeleton(checkpoint, image_size)
        return SKELETONS[key]

    monkeypatch.setattr(detect, "build_skeleton", shared_skeleton)
