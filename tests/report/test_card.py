"""The card of a cell: everything that is known, and a command line that asks for the very same cell."""

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


def planned(words: list[str]) -> Plan:
    """The plan of a command line's words."""
    return build_plan(request_from(build_parser("run").parse_args(words)))


def recorded(words: list[str]) -> list[Record]:
    """The records that a command line would begin, as they come back from a file."""
    made = planned(words)
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
    "as it comes": ["--methods", "rotnet"],
    "the floor": ["--methods", "random", "--preset", "smoke", "--seeds", "4"],
    "settings that a short run changes, set back": ["--methods", "moco", "--set", "moco.momentum=0.999"],
    "the paper's settings": ["--methods", "moco", "--preset", "paper", "--protocol", "knn"],
    "several of everything": [
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
    "a curve with a preset of its own": ["--methods", "rotnet", "--protocol", "fewlabels", "--preset", "smoke"],
    "weights of others, and none at all": [
        *("--methods", "timm/resnet18@random,mocov2@vissl_200ep", "--protocol", "knn", "--seeds", "3"),
    ],
    "a network of timm": ["--methods", "random", "--encoder", "timm/resnet18"],
    "other pictures": ["--methods", "random", "--dataset", "folder", "--data-dir", "{pictures}", "--image-size", "40"],
    "pretrained on others": [
        *("--methods", "rotnet", "--dataset", "folder", "--data-dir", "{pictures}", "--pretrain-dataset", "synthetic"),
    ],
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_command_asks_for_the_same_cell(words: list[str], pictures: Path, tmp_path: Path) -> None:
    """Planned from its card, a cell has the key it had: every setting is there, and nothing else is asked."""
    words = [word.format(pictures=pictures) for word in words]
    found = recorded([*words, "--results", str(tmp_path)])
    assert found
    for record in found:
        program, script, *again = shlex.split(card.rerun_command(record))
        assert (program, script) == ("python", "run_bench.py")
        again = [word.replace("PATH_OF_pets", str(pictures)) for word in again]
        assert record.key in {cell.key for job in planned(again).jobs for cell in job.cells}


def test_short_where_nothing_was_changed(tmp_path: Path) -> None:
    """Defaults are not spelt out, neither the paper's nor those of a short run."""
    (record,) = recorded(["--methods", "moco", "--results", str(tmp_path)])
    assert record.deviations
    assert card.rerun_command(record) == (
        "python run_bench.py --methods moco --protocol linear --dataset synthetic --encoder convnet "
        "--preset small --seeds 0 --results results/local/again"
    )


def test_what_is_not_recorded_is_in_capitals() -> None:
    """A file of weights and a plugin of one's own are named, and where they lie is left to fill in."""
    names = {"method": "sharpness", "checkpoint": "mine.pt", "dataset": "pets", "pretrain_dataset": "pets"}
    told = card.rerun_command(example_record(cell=names))
    assert "--plugin PATH_OF_sharpness.py" in told
    assert "--checkpoint sharpness=mine.pt" in told
    assert "--dataset folder --data-dir PATH_OF_pets" in told


def test_a_card_is_found_by_key_or_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`report --card` takes a key, a file or words of its name; none or several are told with what there is."""
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
    told = capsys.readouterr().err
    assert "no cell" in told
    assert paths[0].stem in told
