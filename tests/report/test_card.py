"""The card of a cell: everything that is known about it, and the command line that measures the same cell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from sslbench.bench.cli import main
from sslbench.bench.cli.options import build_parser, request_from
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Plan
from sslbench.bench.records import store
from sslbench.bench.records.record import Record, from_json, to_json
from sslbench.bench.report import card
from sslbench.bench.run.describe import record_header
from tests.records.builders import example_record


def plan_of(words: list[str]) -> Plan:
    """The plan of a command line."""
    return build_plan(request_from(build_parser("run").parse_args(words)))


def records_of(words: list[str]) -> list[Record]:
    """The records of a command line before anything is measured, as they are read from files."""
    made = plan_of(words)
    device = torch.device("cpu")
    return [from_json(to_json(record_header(made, job, cell, device))) for job in made.jobs for cell in job.cells]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 4 train and 2 test pictures of two classes."""
    for split, count in (("train", 2), ("test", 1)):
        for kind in ("cat", "dog"):
            for n in range(count):
                path = tmp_path / "pets" / split / kind / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (n, n, n)).save(path)
    return tmp_path / "pets"


WORDS = {
    "default settings": ["--methods", "rotnet"],
    "the floor": ["--methods", "random", "--preset", "smoke", "--seeds", "4"],
    "a setting of short runs set to the paper's value": ["--methods", "moco", "--set", "moco.momentum=0.999"],
    "the paper's settings": ["--methods", "moco", "--preset", "paper", "--protocol", "knn"],
    "several methods, protocols, seeds and settings": [
        *("--methods", "rotnet,moco", "--protocol", "linear,knn", "--seeds", "0,7", "--precision", "fp32"),
        *("--taps", "conv3", "--set", "knn.k=5,7", "--set", "knn.temperature=0.5", "--set", "linear.head=mlp"),
        *("--set", "rotnet.angles=0,180", "--set", "convnet.width=8", "--set", "recipe.views=900"),
        *("--set", "synthetic.train=500", "--set", "synthetic.horizon=true"),
    ],
    "an ablation": ["--methods", "rotnet", "--protocol", "rotations"],
    "an ablation of the recipe": [
        *(
            "--methods",
            "moco",
            "--protocol",
            "negatives",
            "--set",
            "recipe.views=9000",
            "--set",
            "synthetic.train=4000",
        ),
    ],
    "a protocol with settings for a preset": ["--methods", "rotnet", "--protocol", "fewlabels", "--preset", "smoke"],
    "external checkpoints with and without weights": [
        *("--methods", "timm/resnet18@random,mocov2@vissl_200ep", "--protocol", "knn", "--seeds", "3"),
    ],
    "a network of timm": ["--methods", "random", "--encoder", "timm/resnet18"],
    "a folder of images": [
        "--methods",
        "random",
        "--dataset",
        "folder",
        "--data-dir",
        "{pictures}",
        "--image-size",
        "40",
    ],
    "pretrained on another data set": [
        *("--methods", "rotnet", "--dataset", "folder", "--data-dir", "{pictures}", "--pretrain-dataset", "synthetic"),
    ],
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_command_measures_the_same_cell(words: list[str], pictures: Path, tmp_path: Path) -> None:
    """The command of a record plans a cell with the record's key, so it has every setting and no other."""
    words = [word.format(pictures=pictures) for word in words]
    found = records_of([*words, "--results", str(tmp_path)])
    assert found
    for record in found:
        program, script, *again = shlex.split(card.rerun_command(record))
        assert (program, script) == ("python", "run_bench.py")
        again = [word.replace("PATH_OF_pets", str(pictures)) for word in again]
        assert record.key in {cell.key for job in plan_of(again).jobs for cell in job.cells}


def test_default_settings_are_not_in_the_command(tmp_path: Path) -> None:
    """Neither the paper's settings nor those of a short run are written out."""
    (record,) = records_of(["--methods", "moco", "--no-references", "--results", str(tmp_path)])
    assert record.deviations
    assert card.rerun_command(record) == (
        "python run_bench.py --methods moco --protocol linear --dataset synthetic --encoder convnet "
        "--preset small --seeds 0 --no-references --results results/local/again"
    )


def test_paths_that_are_not_recorded_are_in_capitals() -> None:
    """The user fills in the paths of a plugin file and of a data folder."""
    names = {"method": "sharpness", "checkpoint": "mine.pt", "dataset": "pets", "pretrain_dataset": "pets"}
    command = card.rerun_command(example_record(cell=names))
    assert "--plugin PATH_OF_sharpness.py" in command
    assert "--checkpoint sharpness=mine.pt" in command
    assert "--dataset folder --data-dir PATH_OF_pets" in command


def test_a_card_is_found_by_key_or_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`report --card` takes a key, a file or a part of its name; for none or several matches it lists the names."""
    paths = []
    for key, method in (("a" * 16, "rotnet"), ("b" * 16, "moco")):
        paths.append(store.write(tmp_path / "records", example_record(key, cell={"method": method})))
    for wanted in ("a" * 16, "rotnet-linear", str(paths[0])):
        assert main(["report", "--results", str(tmp_path), "--card", wanted]) == 0
        out = capsys.readouterr().out
        assert "method rotnet" in out
        assert "key aaaaaaaaaaaaaaaa" in out
        assert "sha256 dd" in out
        assert out.splitlines()[-1].startswith("python run_bench.py --methods rotnet --protocol linear")
    assert main(["report", "--results", str(tmp_path), "--card", "linear"]) == 2
    assert "2 cells" in capsys.readouterr().err
    assert main(["report", "--results", str(tmp_path), "--card", "jigsaw"]) == 2
    error = capsys.readouterr().err
    assert "no cell" in error
    assert paths[0].stem in error
