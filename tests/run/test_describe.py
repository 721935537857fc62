"""Records: everything that is needed to measure a cell again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sslbench.bench.cli import main
from sslbench.bench.data.folder import Folder
from sslbench.bench.records import store as records
from sslbench.bench.records.predictions import read_predictions
from sslbench.bench.run.describe import dataset_settings
from tests.builders import run_quickly


def test_a_record_says_how_to_measure_it_again(results: Path) -> None:
    """A record has every effective setting, the source of its weights, its cost and where it was made."""
    assert (
        run_quickly(
            results, "--methods", "moco", "--protocol", "knn", "--set", "knn.k=20", "--set", "moco.negatives=64"
        )
        == 0
    )
    (record,), damaged = records.read_all(results / "records")
    assert not damaged
    assert record.settings.method["negatives"] == 64
    assert record.settings.recipe["views"] == 256
    assert record.deviations.keys() == {"negatives", "momentum", "temperature", "groups"}
    assert record.source.kind == "pretrained"
    assert record.settings.pretrain_dataset == record.settings.dataset
    assert record.settings.dataset["source"] == "synthetic"
    assert record.settings.dataset["test"] == 50
    assert record.source.commit == record.provenance.commit
    assert record.source.device == record.provenance.device
    assert record.provenance.precision in ("fp32", "bf16")
    assert record.provenance.versions.keys() == {"python", "torch", "torchvision", "timm", "numpy", "scipy"}
    assert record.cost.pretrain_flops > 1e9
    assert record.cost.extract_flops > 1e9
    assert record.cost.peak_memory_bytes > 1e8
    assert {measurement.metric for measurement in record.measurements} == {"accuracy", "macro_accuracy"}
    assert record.card["k"] == [20]
    assert len(read_predictions(record).labels) == 50


def test_a_record_says_which_range_of_values_was_used(results: Path, tmp_path: Path) -> None:
    """Also if it is the data set's own and no setting gave it."""
    for split in ("train", "test"):
        for k in range(12):
            path = tmp_path / "tiles" / split / "ab"[k % 2] / f"{k}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.linspace(840, 4130 - k, 1024, dtype=np.float32).reshape(32, 32)).save(path)
    words = ("--methods", "random", "--protocol", "knn", "--set", "knn.k=2", "--dataset", "folder")
    assert main([*words, "--data-dir", str(tmp_path / "tiles"), "--results", str(results)]) == 0
    (record,), _ = records.read_all(results / "records")
    assert record.settings.dataset["range"] == [840, 4130]


def test_a_record_has_the_crop_margin_only_where_it_has_an_effect(tmp_path: Path) -> None:
    """It has none for pictures that are decoded into the cache; a margin of 1 that was asked for is always recorded."""
    for split in ("train", "test"):
        for label in ("a", "b"):
            path = tmp_path / "wide" / split / label / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.zeros((100, 160, 3), np.uint8)).save(path)
    recorded = [
        dataset_settings("folder", source, source.check()).get("crop_margin")
        for source in (
            Folder(data_dir=str(tmp_path / "wide"), image_size=100),
            Folder(data_dir=str(tmp_path / "wide"), image_size=64),
            Folder(data_dir=str(tmp_path / "wide"), image_size=100, crop_margin=1),
        )
    ]
    assert recorded == [1.5, None, 1]
