"""The option --dry-run: cells, states and estimates, and no work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from sslbench.bench.records.provenance import device_name
from sslbench.bench.records.record import Record
from tests.builders import run_quickly
from tests.records.builders import changed_record


def test_it_shows_cells_and_writes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each cell is printed with its state and the disk that it needs."""
    assert run_quickly(results, "--methods", "random,rotnet", "--seeds", "0,1", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("rotnet") == 2
    assert "untrained" in out
    assert "MB" in out
    assert not results.exists()


def test_it_estimates_the_minutes_of_missing_cells(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The median rate of the most similar runs, per view or image: same device first, then same method or settings."""
    (whole,) = (ROOT / "results" / "baseline" / "records").glob("*-random-knn-*.json")

    def timed(
        method: str, protocol: str, pretrain: int, extract: int, probe: int, device: str = "", **settings: Any
    ) -> Record:
        """A record of 2,000 and 500 images and 1,000 views with these seconds."""
        made = records.read(whole)
        cost = {
            "pretrain_seconds": pretrain,
            "pretrain_views": 1000,
            "extract_seconds": extract,
            "probe_seconds": probe,
        }
        return changed_record(
            made,
            cell={"method": method, "protocol": protocol},
            settings={"protocol": {"taps": ["conv4", "conv5"]} | settings},
            card={**made.card, "train_images": 2000, "test_images": 500},
            cost=cost,
            provenance={"device": device or device_name(torch.device("cpu"))},
        )

    asked = {"k": [20], "temperature": [0.07]}
    past = [
        timed("rotnet", "knn", 6000, 600, 1200, **asked),
        timed("rotnet", "knn", 6000, 600, 99999, **asked | {"k": [5]}),
        timed("rotnet", "knn", 99999, 99999, 99999, device="another", **asked),
        timed("moco", "linear", 99999, 1200, 300),
        timed("moco", "linear", 99999, 1200, 300),
    ]
    monkeypatch.setattr("sslbench.bench.api.forecast.read_all_records", lambda folder: (past, []))
    words = ["--protocol", "knn,linear", "--set", "knn.k=20", "--device", "cpu", "--dry-run", "--no-references"]
    assert run_quickly(results, "--methods", "rotnet,random", *words, "--set", "convnet.width=8") == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(("rotnet", "random"))]
    pretrain, extract, knn, linear = 6000 * 256 / 1000, (600 + 1200) / 2 / 10, 1200 / 10, 300 / 10
    seconds = [pretrain + extract + knn, linear, extract + knn, linear]
    assert [row[-1] for row in rows] == [f"{part / 60:.1f}" for part in seconds]
    assert f"About {sum(seconds) / 60:.1f} minutes, " in out
    assert "?" not in out

    past[3:] = []
    assert run_quickly(results, "--methods", "rotnet", *words, "--set", "convnet.width=8") == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("rotnet")] == ["28.6", "?"]
    assert "?: no run like this was timed yet.\nAbout 28.6 + ? minutes, " in out
    assert run_quickly(results, "--methods", "rotnet", *words, "--set", "convnet.width=4") == 0
    assert "About ? minutes, " in capsys.readouterr().out


def test_it_names_rows_as_the_options_do(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint by its word in --methods, the encoders of an ablation by their variants."""
    words = ["--methods", "moco@v2_800ep,rotnet", "--protocol", "linear,rotations", "--dry-run"]
    assert run_quickly(results, *words) == 0
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "moco@v2_800ep" in lines
    assert {"rotnet", "rotnet (0,180)", "rotnet (90,270)"} <= set(lines)
