"""What a record says about the pretext task, and what is said about a file of weights."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.run.encoder import load_given_file, pretext_summary

LOGGED = (("accuracy", 0.4, 0.6), ("spread", 0.9, 0.04), ("spread", 0.05, 0.01))


def test_the_summary_of_a_pretext_task() -> None:
    """First and last losses, means of what was logged, and a collapse of embeddings that hardly vary."""
    losses = [4.0, *[3.0] * 37, 2.0, 1.0]
    plain, spread, collapsed = ([{}] * 38 + [{name: a}, {name: b}] for name, a, b in LOGGED)
    assert pretext_summary(losses, plain) == {"first_loss": 4.0, "last_loss": 1.5, "accuracy": 0.5}
    assert pretext_summary(losses, spread)["collapsed"] is False
    assert pretext_summary(losses, collapsed)["collapsed"] is True


def test_the_part_of_a_given_file_is_named_where_several_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Averaged weights are preferred to raw ones, and the line says how to choose those; a part that is named, or the
    only one, needs no line.
    """
    job: Any = SimpleNamespace(method=SimpleNamespace(name="rotnet"))
    encoder = ConvNet(32, width=4)
    raw, averaged = ConvNet(32, width=4).state_dict(), ConvNet(32, width=4).state_dict()
    both, one = tmp_path / "both.ckpt", tmp_path / "one.ckpt"
    torch.save({"state_dict": raw, "state_dict_ema": averaged, "optimizer": {}}, both)
    torch.save({"state_dict": raw, "optimizer": {"state": {0: torch.zeros(3)}}}, one)
    line = f"{both}: its part 'state_dict_ema' was taken; 'state_dict' fits too: --checkpoint rotnet={both}#state_dict"
    with caplog.at_level(logging.INFO):
        for file, weights, lines in (
            (both, averaged, [line]),
            (Path(f"{both}#state_dict"), raw, []),
            (one, raw, []),
        ):
            found = load_given_file(job, file, encoder)
            assert caplog.messages == lines
            assert not found.metadata.keys() & {"part", "other_parts"}
            assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
            caplog.clear()
