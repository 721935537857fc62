"""Tests of data sets that the library datasets reads: a local copy of Parquet files, and the errors without one."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sslbench.bench.data.hf import Hf
from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request

GREYS = {"train": [10, 20, 30, 40], "test": [50, 60]}


def write_parquet(folder: Path, *, names: bool = True, **columns: Any) -> None:
    """Writes two splits of grey pictures, whose labels alternate, with further columns."""
    datasets = pytest.importorskip("datasets")
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    for split, greys in GREYS.items():
        pictures = []
        for grey in greys:
            stream = io.BytesIO()
            Image.new("RGB", (16, 16), (grey,) * 3).save(stream, "PNG")
            pictures.append({"bytes": stream.getvalue(), "path": None})
        kinds = [i % 2 for i in range(len(greys))]
        if not names:
            features = {"picture": datasets.Image(), "kind": datasets.Value("string")}
            kinds = [("dog", "cat")[kind] for kind in kinds]
        rows = {"picture": pictures, "kind": kinds} | {name: [0] * len(greys) for name in columns}
        table = datasets.Dataset.from_dict(rows, features=datasets.Features(features | columns))
        table.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder as a download from the hub has it."""
    (tmp_path / "pets").mkdir()
    write_parquet(tmp_path / "pets")
    return tmp_path / "pets"


def test_a_copy_of_a_data_set_is_read(copy: Path) -> None:
    """Columns are found by their types; pictures, labels and the names of the classes are those that were written."""
    source = Hf(data_dir=str(copy))
    info, data = source.check(), source.load(frozenset())
    assert (info.name, info.classes, info.image_size, info.per_class) == ("pets", ("cat", "dog"), 16, 2)
    assert (info.train_images, info.test_images) == (4, 2)
    for split, name in ((data.train, "train"), (data.test, "test")):
        assert split.images[:].shape == (len(GREYS[name]), 3, 16, 16)
        assert split.images[:][:, 1, 8, 8].tolist() == GREYS[name]
        assert split.labels.tolist() == [i % 2 for i in range(len(split))]
    assert torch.equal(Hf(data_dir=str(copy), image_size=8).load(frozenset()).train.labels, data.train.labels)
    assert Hf(path=str(copy)).check() == info
    assert Hf(data_dir=str(copy), image_size=8).check().identity != info.identity


def test_the_command_line_names_it_after_a_slash(copy: Path) -> None:
    """Which data set it is follows the name of the plugin, as for encoders; other plugins are one data set."""
    request = Request(methods=("random",), dataset=f"hf/{copy}", preset="smoke", results=copy / "nowhere")
    plan = build_plan(request)
    assert (plan.dataset_info.name, plan.dataset_info.train_images) == ("pets", 4)
    with pytest.raises(UserError, match="--dataset synthetic/small: synthetic is one data set; use --dataset synth"):
        build_plan(Request(methods=("random",), dataset="synthetic/small", results=copy / "nowhere"))


def test_labels_without_names_are_classes(tmp_path: Path) -> None:
    """Texts are classes in the order of the alphabet, if a setting chooses their column."""
    write_parquet(tmp_path, names=False)
    with pytest.raises(UserError, match=r"no column is clearly the label: picture, kind\. Choose one with --set"):
        Hf(data_dir=str(tmp_path)).check()
    source = Hf(data_dir=str(tmp_path), label="kind")
    assert source.check().classes == ("cat", "dog")
    assert source.load(frozenset()).train.labels.tolist() == [1, 0, 1, 0]


def test_several_candidates_are_a_question(tmp_path: Path) -> None:
    """Of two columns with named classes, a setting chooses one."""
    datasets = pytest.importorskip("datasets")
    write_parquet(tmp_path, coarse=datasets.ClassLabel(names=["animal", "plant"]))
    with pytest.raises(UserError, match=r"several columns may be the label: kind, coarse\. Choose one with --set"):
        Hf(data_dir=str(tmp_path)).check()
    assert Hf(data_dir=str(tmp_path), label="coarse").check().classes == ("animal", "plant")
    with pytest.raises(UserError, match=r"hf\.label = kinds: no such column in .* 'kind'"):
        Hf(data_dir=str(tmp_path), label="kinds").check()


def test_a_missing_split_and_a_damaged_picture_are_reported(copy: Path) -> None:
    """The messages name the folder, the splits or the row, and the remedy."""
    with pytest.raises(UserError, match=r"pets: no dev split, only train, test\. Name the test split with"):
        Hf(data_dir=str(copy), test="dev").check()
    (file,) = (copy / "data").glob("train-*")
    content = file.read_bytes()
    assert b"\x89PNG" in content
    file.write_bytes(content.replace(b"\x89PNG", b"\x00PNG"))
    with pytest.raises(UserError, match=r"pets: picture 0 of train cannot be read \(cannot identify"):
        Hf(data_dir=str(copy), image_size=16).load(frozenset())


def test_without_a_network_the_error_says_what_to_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has the command for a machine with a network, and the option that reads the copied folder."""
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("datasets")

    def no_network(*args: Any, **options: Any) -> None:
        raise ConnectionError("Network is unreachable\nmore")

    monkeypatch.setattr(hub, "snapshot_download", no_network)
    with pytest.raises(UserError) as error:
        Hf(path="someone/birds").check()
    assert str(error.value) == (
        "--dataset hf/someone/birds: cannot be downloaded (Network is unreachable). Check the name; without a network, "
        "run `hf download someone/birds --repo-type dataset --local-dir birds` on a machine with one, copy the folder "
        "birds here, and add --data-dir birds."
    )
    for wrong in ({}, {"data_dir": str(tmp_path / "absent")}, {"path": "a/b/c"}, {"path": "./absent"}):
        with pytest.raises(UserError, match=r"names no data set|no such directory"):
            Hf(**wrong).check()


def test_without_the_library_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is downloaded before."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package datasets; run pip install 'sslbench\[hf\]'"):
        Hf(path="someone/birds").check()
