"""Plans: what each method needs of data and encoder, told before any work; what ``all`` leaves out; variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sslbench.bench.cli import plan_from_options
from sslbench.bench.cli.options import build_parser
from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Plan, Request
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.training.recipe import Recipe

METHODS = set(find_plugins("method"))
BUNDLE = ROOT / "methods" / "pretrained"


def planned(results: Path, *methods: str, assignments: tuple[str, ...] = (), **request: Any) -> Plan:
    """A plan over a small embedded set, unless another is asked for."""
    if "dataset" not in request:
        assignments = ("synthetic.train=200", "synthetic.test=20", *assignments)
    return build_plan(Request(methods=methods, preset="smoke", results=results, assignments=assignments, **request))


def left_out(plan: Plan) -> set[str]:
    """The methods that are not in a plan, each of which must be told about in a line of its own."""
    names = {line.split()[0] for line in plan.left_out}
    assert len(plan.left_out) == len(names)
    assert names == METHODS - {job.method.name for job in plan.jobs}
    return names


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Pictures in folders: there is nothing beside labels."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for n in range(4):
                Image.new("RGB", (32, 32), (40 * n, 0, 0)).save(tmp_path / "pictures" / split / name / f"{n}.png")
    return str(tmp_path / "pictures")


def test_all_leaves_out_what_the_encoder_cannot_see(tmp_path: Path) -> None:
    """Patches want an encoder that takes them, halves one with a width; the transformer is fit for all methods."""
    assert left_out(planned(tmp_path, "all")) == {"mae"}
    assert left_out(planned(tmp_path, "all", encoder="resnet18")) == {"mae", "split_brain"}
    assert left_out(planned(tmp_path, "all", encoder="vit")) == set()


def test_all_leaves_out_what_the_data_do_not_provide(tmp_path: Path, folder: str) -> None:
    """A folder of pictures has no clips, depth or captions; methods that need them are named with the reason."""
    found = planned(
        tmp_path, "all", dataset="folder", data_dir=folder, encoder="vit", assignments=("recipe.batch_size=2",)
    )
    assert left_out(found) == {"clip", "depth", "tracking", "video_colorization"}
    (line,) = (line for line in found.left_out if line.startswith("clip "))
    assert line == "clip needs captions, which pictures does not provide; choose another --pretrain-dataset."


def test_what_is_named_is_not_left_out(tmp_path: Path) -> None:
    """Asked for by its name, or by a setting of its own, an unfit method is a mistake."""
    told = "mae shows its encoder some patches of a picture, which convnet cannot see; --encoder vit can."
    with pytest.raises(UserError) as error:
        planned(tmp_path, "mae")
    assert str(error.value) == told
    with pytest.raises(UserError, match="mae shows its encoder"):
        planned(tmp_path, "all", assignments=("mae.mask=0.5",))
    with pytest.raises(UserError, match="split_brain halves its encoder's width"):
        planned(tmp_path, "split_brain", encoder="resnet18")


def test_a_setting_may_need_more(tmp_path: Path, folder: str) -> None:
    """Rows are in any picture; frames need clips, and where there are none this is told."""
    options: dict[str, Any] = {"dataset": "folder", "data_dir": folder}
    (job,) = planned(tmp_path, "cpc", assignments=("recipe.batch_size=2",), **options).jobs
    assert job.needs == frozenset()
    with pytest.raises(UserError, match="cpc needs clips, which pictures does not provide"):
        planned(tmp_path, "cpc", assignments=("recipe.batch_size=2", "cpc.sequence=frames"), **options)
    (job,) = planned(tmp_path, "cpc", assignments=("cpc.sequence=frames",)).jobs
    assert job.needs == {"clips"}


def test_weights_from_a_file_need_nothing_to_learn_from(tmp_path: Path) -> None:
    """Given its weights, a masked autoencoder's encoder can be any; halves must still be halves."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    (job,) = planned(tmp_path, "mae", checkpoints={"mae": str(weights)}).jobs
    assert not job.trains
    with pytest.raises(UserError, match="split_brain halves"):
        planned(tmp_path, "split_brain", encoder="resnet18", checkpoints={"split_brain": str(weights)})


def test_what_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line on the error stream for each, and nothing else."""
    plan_from_options(build_parser("run").parse_args(["--methods", "all", "--results", str(tmp_path)]))
    output = capsys.readouterr()
    assert output.err.startswith("left out: mae shows")
    assert output.err.count("\n") == 1
    assert not output.out


def test_the_default_command_trains_nothing() -> None:
    """Its encoders, and those of floor and ceiling, are bundled: a changed default would turn seconds into minutes."""
    command = ["--methods", "rotnet,jigsaw,moco,supervised,random", "--protocol", "linear"]
    jobs = plan_from_options(build_parser("run").parse_args(command)).jobs
    bundle = {facts["recipe_hash"] for facts in json.loads((BUNDLE / "manifest.json").read_text()).values()}
    assert [job.method.name for job in jobs if job.trains and job.recipe_hash not in bundle] == []
    assert [job.method.name for job in jobs if not job.trains] == ["random"]


def test_one_variant_can_run_alone() -> None:
    """`--variant` leaves the named ones of a sweep; a plain protocol beside it is asked as ever."""
    asked = Request(methods=("rotnet",), protocols=("linear", "rotations"), variants=("0,180", "90,270"))
    assert [[cell.variant for cell in job.cells] for job in build_plan(asked).jobs] == [[""], ["0,180"], ["90,270"]]


def test_a_variant_that_is_not_compared_is_refused() -> None:
    """A misspelt label, or that of a method that does not run, is one line with the nearest."""
    with pytest.raises(UserError, match=r"--variant 0,18: .* Did you mean '0,180'\?"):
        build_plan(Request(methods=("rotnet",), protocols=("rotations",), variants=("0,18",)))


def test_a_larger_batch_keeps_the_budget_and_raises_the_rate() -> None:
    """Four times the batch, twice the rate, unless the variant names one; what is not named stays."""
    recipe = Recipe(views=1000, batch_size=64, learning_rate=0.002, seed=3)
    assert recipe.for_variant({"batch_size": 256}) == Recipe(views=1000, batch_size=256, learning_rate=0.004, seed=3)
    assert recipe.for_variant({"batch_size": 16}).learning_rate == 0.001
    assert recipe.for_variant({"batch_size": 256, "learning_rate": 0.1}).learning_rate == 0.1
    assert recipe.for_variant({}) == recipe
