"""Plans: methods that do not fit the encoder or the data, what `all` leaves out, and variants."""

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
from sslbench.bench.planning.plan import Plan, PlannedDatasets, Request
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.progress import log_output

METHODS = find_plugins("method")
BUNDLE = ROOT / "methods" / "pretrained"


def methods_with(input_mode: str) -> set[str]:
    """The methods whose encoder sees images in this mode."""
    return {name for name, method in METHODS.items() if method.constants.get("input_mode") == input_mode}


def plan_for(results: Path, *methods: str, assignments: tuple[str, ...] = (), **request: Any) -> Plan:
    """A plan on a small synthetic data set, or on the one that the request names."""
    if "dataset" not in request:
        assignments = ("synthetic.train=200", "synthetic.test=20", *assignments)
    return build_plan(Request(methods=methods, preset="smoke", results=results, assignments=assignments, **request))


def left_out(plan: Plan) -> set[str]:
    """The methods that are not in a plan; each must have a line of its own with the reason."""
    names = {line.split()[0] for line in plan.left_out}
    assert len(plan.left_out) == len(names)
    assert names == METHODS.keys() - {job.method.name for job in plan.jobs}
    return names


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder of images, which provides nothing but labels."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for n in range(4):
                Image.new("RGB", (32, 32), (40 * n, 0, 0)).save(tmp_path / "pictures" / split / name / f"{n}.png")
    return str(tmp_path / "pictures")


def test_all_leaves_out_what_the_encoder_cannot_see(tmp_path: Path) -> None:
    """Patches need an encoder that takes them, halves one with a width; the transformer fits all methods."""
    assert left_out(plan_for(tmp_path, "all")) == methods_with("patches")
    assert left_out(plan_for(tmp_path, "all", encoder="resnet18")) == methods_with("patches") | methods_with("halves")
    assert left_out(plan_for(tmp_path, "all", encoder="vit")) == set()


def test_all_leaves_out_what_the_data_do_not_provide(tmp_path: Path, folder: str) -> None:
    """A folder of images has no clips, depth or captions; methods that need them are named with the reason."""
    found = plan_for(
        tmp_path, "all", dataset="folder", data_dir=folder, encoder="vit", assignments=("recipe.batch_size=2",)
    )
    needs = {name: set(method.constants.get("needs") or ()) for name, method in METHODS.items()}
    assert left_out(found) == {name for name, needed in needs.items() if needed - {"labels"}}
    (line,) = (line for line in found.left_out if line.startswith("clip "))
    assert line == "clip needs captions, which pictures lacks; choose another --pretrain-dataset."


def test_what_is_named_is_not_left_out(tmp_path: Path) -> None:
    """A method that does not fit is a mistake if it is named, or if one of its settings is."""
    message = "mae shows its encoder only some patches of an image, and convnet needs all; use --encoder vit."
    with pytest.raises(UserError) as error:
        plan_for(tmp_path, "mae")
    assert str(error.value) == message
    with pytest.raises(UserError, match="mae shows its encoder"):
        plan_for(tmp_path, "all", assignments=("mae.mask=0.5",))
    with pytest.raises(UserError, match="split_brain splits its encoder in two"):
        plan_for(tmp_path, "split_brain", encoder="resnet18")


def test_a_setting_may_need_more(tmp_path: Path, folder: str) -> None:
    """Rows can be read from any image; frames need clips, and without them the setting is refused."""
    options: dict[str, Any] = {"dataset": "folder", "data_dir": folder}
    (job,) = plan_for(tmp_path, "cpc", assignments=("recipe.batch_size=2",), **options).jobs
    assert job.needs == frozenset()
    with pytest.raises(UserError, match="cpc needs clips, which pictures lacks"):
        plan_for(tmp_path, "cpc", assignments=("recipe.batch_size=2", "cpc.sequence=frames"), **options)
    (job,) = plan_for(tmp_path, "cpc", assignments=("cpc.sequence=frames",)).jobs
    assert job.needs == {"clips"}


def test_weights_from_a_file_need_no_data(tmp_path: Path) -> None:
    """With weights from a file a masked autoencoder's encoder can be any; halves must still be halves."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    (job,) = plan_for(tmp_path, "mae", checkpoints={"mae": str(weights)}).jobs
    assert not job.trains
    with pytest.raises(UserError, match="split_brain splits"):
        plan_for(tmp_path, "split_brain", encoder="resnet18", checkpoints={"split_brain": str(weights)})


def test_what_is_left_out_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line per method on the error stream, and nothing else."""
    with log_output():
        plan_from_options(build_parser("run").parse_args(["--methods", "all", "--results", str(tmp_path)]))
    output = capsys.readouterr()
    assert output.err.startswith("left out: mae shows")
    assert output.err.count("\n") == 1
    assert not output.out


def test_the_default_command_trains_nothing() -> None:
    """Its encoders and those of floor and ceiling are bundled. A changed default would turn seconds into minutes."""
    command = ["--methods", "rotnet,jigsaw,moco,supervised,random", "--protocol", "linear"]
    jobs = plan_from_options(build_parser("run").parse_args(command)).jobs
    bundle = {metadata["recipe_hash"] for metadata in json.loads((BUNDLE / "manifest.json").read_text()).values()}
    assert [job.method.name for job in jobs if job.trains and job.recipe_hash not in bundle] == []
    assert [job.method.name for job in jobs if not job.trains] == ["random"]


def test_one_variant_can_run_alone() -> None:
    """`--variant` selects some of a protocol's variants; it does not change other protocols."""
    asked = Request(methods=("rotnet",), protocols=("linear", "rotations"), variants=("0,180", "90,270"))
    assert [[cell.variant for cell in job.cells] for job in build_plan(asked).jobs] == [[""], ["0,180"], ["90,270"]]


def test_an_unknown_variant_is_refused() -> None:
    """A misspelt label is one line with the nearest label."""
    with pytest.raises(UserError, match=r"--variant 0,18: .* Did you mean '0,180'\?"):
        build_plan(Request(methods=("rotnet",), protocols=("rotations",), variants=("0,18",)))


def test_a_checkpoint_is_read_where_its_numbers_were_read(tmp_path: Path) -> None:
    """The reading is a setting of its cells, and gives way to ``--set``; other encoders keep settings and keys."""
    words = ("dino@vit_b16", "timm/test_vit@random", "torchvision/vit_b_16@random", "timm/test_resnet@random", "random")
    given: dict[str, Any] = {"protocols": ("linear", "knn"), "taps": ("conv5",)}
    jobs = {job.name: job for job in plan_for(tmp_path, *words, **given).jobs}
    pooling = {name: [cell.settings.get("pooling") for cell in job.cells] for name, job in jobs.items()}
    assert pooling == {
        "dino@vit_b16": ["token+mean", "token"],
        "timm/test_vit@random": ["token", "token"],
        "torchvision/vit_b_16@random": ["token", "token"],
        "timm/test_resnet@random": ["average", None],
        "random": ["average", None],
    }
    assigned = plan_for(tmp_path, *words, assignments=("linear.pooling=mean", "knn.pooling=average"), **given)
    for job in assigned.jobs:
        assert [cell.settings.get("pooling") for cell in job.cells] == ["mean", None]
        assert (job.cells[1].key == jobs[job.name].cells[1].key) == (pooling[job.name][1] is None)


def test_settings_of_an_encoder_that_a_word_names_can_be_set(tmp_path: Path) -> None:
    """``timm/NAME`` and ``@ENCODER`` take ``--set`` of their encoder; its normalisation is that of the input."""
    mean = ("timm.mean=0.1,0.2,0.3", "timm.std=1,1,1")
    (job,) = plan_for(tmp_path, "timm/test_vit@random", assignments=mean, taps=("conv5",)).jobs
    assert job.external
    assert job.external.input_spec
    assert (job.external.input_spec.mean, job.external.input_spec.std) == ((0.1, 0.2, 0.3), (1, 1, 1))
    with pytest.raises(UserError, match="does not run here"):
        plan_for(tmp_path, "random", assignments=mean)


PROTOCOL_WITH_MASKS = """
'''An example of a question about masks and depth.'''
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sslbench import FeatureSpec, Measurement, Protocol


@dataclass(frozen=True, kw_only=True)
class Outline(Protocol):
    needs: ClassVar = frozenset({"masks", "depth"})

    def feature_specs(self):
        return (FeatureSpec("conv5", pooling="map", images=8),)

    def evaluate(self, representation):
        targets = representation.targets("test", self.feature_specs()[0])
        yield Measurement(tap="conv5", metric="covered", value=(targets.masks > 0).float().mean().item())
"""


def test_a_protocol_that_the_data_cannot_answer(tmp_path: Path, folder: str) -> None:
    """A protocol that was named is refused with what the data lack; `all` leaves it out and says why."""
    plugin = tmp_path / "outline.py"
    plugin.write_text(PROTOCOL_WITH_MASKS, encoding="utf-8")
    on_folder: dict[str, Any] = {"dataset": "folder", "data_dir": folder, "plugin_files": (str(plugin),)}
    on_folder["assignments"] = ("recipe.batch_size=2",)
    with pytest.raises(UserError, match="outline needs depth, masks, which pictures lacks; choose another --dataset"):
        plan_for(tmp_path, "random", protocols=("outline",), **on_folder)
    every = plan_for(tmp_path, "random", "rotnet", "instdisc", protocols=("all",), **on_folder)
    assert [line for line in every.left_out if line.startswith("outline needs depth, masks")]
    assert "outline" not in {protocol.name for protocol in every.protocols}
    answered = plan_for(tmp_path, "random", protocols=("outline",), plugin_files=(str(plugin),))
    assert answered.protocol_needs == {"depth", "masks"}
    assert PlannedDatasets(answered).dataset_of(answered.jobs[0]).test.masks is not None
