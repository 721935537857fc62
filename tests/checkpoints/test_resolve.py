"""Tests of the words of --methods that name checkpoints, and of one run that measures all kinds of them."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sslbench.bench.api.request import files_by_method, method_words
from sslbench.bench.checkpoints.registry import registered_checkpoints
from sslbench.bench.checkpoints.resolve import find_registered, is_checkpoint
from sslbench.bench.cli import main
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.input_spec import InputSpec
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request
from sslbench.bench.plugins.discovery import find_plugins
from sslbench.bench.records.store import read_all

from .builders import PLUGINS, resolve_words

QUICK = ["--set", "synthetic.train=60", "--set", "synthetic.test=20", "--set", "knn.k=5", "--protocol", "knn"]


def network() -> nn.Module:
    """A user's own network, for --encoder-from."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, 2), nn.ReLU(inplace=True))


def test_registered_checkpoints_are_found_by_name() -> None:
    """METHOD@NAME, METHOD@published and all@published give checkpoints with encoder, input and published numbers."""
    moco, rotnet, barlow = resolve_words("moco@v2_800ep", "rotnet@alexnet", "barlow_twins@rn50")
    assert moco.published == {"linear": {"conv5": 0.711}}
    assert (moco.encoder, moco.input_spec) == ("resnet50", InputSpec())
    assert rotnet.settings["batch_norm"] == 5
    assert barlow.licence
    assert [found.token for found in resolve_words("all@published")] == [
        found.token for found in registered_checkpoints(PLUGINS["method"].values())
    ]
    assert {found.method for found in resolve_words("vicreg@published")} == {"vicreg"}
    assert all(is_checkpoint(word) for word in ("a@b", "timm/x", "file/x.pt", "hf/a/b/c@nin"))
    assert not any(is_checkpoint(word) for word in ("rotnet", "all", "file", "timm"))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("moco@v2_80ep", "Did you mean 'moco@v2_800ep'"),
        ("mocco@v2_800ep", "Did you mean 'moco'"),
        ("word2vec@x", "word2vec has no checkpoint"),
        ("timm/resnet81", "timm has no network"),
        ("timm/resnet18@best", "after @ timm knows only random"),
        ("timm/resnet18.no_such", "timm has no such weights"),
        ("torchvision/resnet81@random", "torchvision has no network"),
        ("torchvision/resnet18@V9", "no such weights"),
        ("file/none.pth", "there is no file none.pth"),
        ("file/none/*.ckpt", "no file matches"),
        ("hf/a/b/c.pth", "write hf/OWNER/REPOSITORY/FILE@ENCODER"),
    ],
)
def test_a_word_that_names_nothing_is_refused(word: str, message: str) -> None:
    """The error is one line that names the nearest word or the right form."""
    with pytest.raises(UserError, match=message) as refused:
        resolve_words(word)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["run[1].ckpt", "a,b.ckpt", "a*.ckpt", "a@b.ckpt", "a b?.ckpt", "#1.ckpt", "a#b,c.ckpt"]
)
def test_any_name_of_a_file_can_be_given(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets, commas, marks and the home folder are part of a path if such a file is there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "new[x]").mkdir()
    path = tmp_path / "new[x]" / name
    torch.save(ConvNet(32).state_dict(), path)
    for end in ("", "@convnet"):
        words = method_words(f"rotnet,file/{path}{end},file/~/new[x]/{name}{end},moco")
        assert words == ("rotnet", f"file/{path}{end}", f"file/~/new[x]/{name}{end}", "moco")
        assert [found.path for found in resolve_words(*words[1:3])] == [path, path]


def test_the_home_folder_is_known_to_the_checkpoint_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """--checkpoint METHOD=~/FILE is the file in the home folder; an unknown user is one line."""
    monkeypatch.setenv("HOME", "/home/x")
    assert files_by_method(["rotnet=~/a=b.pt"]) == {"rotnet": "/home/x/a=b.pt"}
    with pytest.raises(UserError, match="Write the whole path"):
        resolve_words("file/~nobody-of-this-name/x.pt")


def test_published_checkpoints_without_the_tap_are_left_out_by_name() -> None:
    """all@published leaves out the network in network, which has no conv5, and says so; the others stay."""
    request = Request(methods=("all@published",), protocols=("knn",))
    plan = build_plan(request)
    tokens = {job.external.token for job in plan.jobs if job.external}
    assert "rotnet@cifar10_nin" not in tokens
    assert len(tokens) >= 39
    assert any(line.startswith("rotnet@cifar10_nin has no tap conv5; name it with --taps") for line in plan.left_out)
    alone = build_plan(Request(methods=("rotnet@cifar10_nin",), protocols=("knn",), taps=("conv4",)))
    assert [job.external.token for job in alone.jobs if job.external] == ["rotnet@cifar10_nin"]
    without_cells = build_plan(Request(methods=("rotnet@published",), protocols=None, taps=("conv5",)))
    assert len(without_cells.jobs) == 4, "of five, the one without conv5 is left out"


def test_a_file_that_sslbench_exported_needs_no_encoder(tmp_path: Path) -> None:
    """Its header names the encoder; a header that names a function of a module is not followed."""
    network = timm.create_model("test_vit", num_classes=0, img_size=32)
    facts = {"method": "rotnet", "encoder": "timm/test_vit"}
    save_file(dict(network.state_dict()), tmp_path / "a.safetensors", {"facts": json.dumps(facts)})
    (found,) = resolve_words(f"file/{tmp_path}/a.safetensors")
    assert (found.encoder, found.input_spec) == ("timm/test_vit", None)
    assert "mean" not in found.changed_settings, "it was trained with the values of the encoder's own configuration"
    facts["encoder"] = f"own/{__name__}:explode"
    save_file(dict(network.state_dict()), tmp_path / "b.safetensors", {"facts": json.dumps(facts)})
    with pytest.raises(UserError, match="do not fit the encoder"):
        resolve_words(f"file/{tmp_path}/b.safetensors")


def explode() -> nn.Module:
    """Must not be called."""
    raise AssertionError("a header was followed")


def test_one_run_measures_checkpoints_of_all_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One table has a registered checkpoint with its published number, a folder's files and untrained networks."""
    (tmp_path / "tiny.py").write_text(
        textwrap.dedent(
            '''
            """Tiny: made by a test. https://example.org"""
            from sslbench import Method
            class Tiny(Method):
                def loss(self, batch):
                    return self.encoder(batch.images).mean()
            '''
        ).lstrip()
    )
    (tmp_path / "tiny.toml").write_text(
        textwrap.dedent(
            """
            [small]
            url = "https://example.org/small.pth"
            encoder = "convnet"
            input = { size = 24, crop = 0.5 }
            licence = "MIT"
            knn = 0.123
            source = "https://example.org/table"
            """
        )
    )
    plugin = ["--plugin", str(tmp_path / "tiny.py")]
    place = find_registered("tiny@small", find_plugins("method", (plugin[1],)))[0].file
    assert place
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    state = ConvNet(32).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, place)
    for name in ("epoch1", "epoch2"):
        torch.save(state, tmp_path / f"{name}.ckpt")
    words = ["--methods", f"random,tiny@small,file/{tmp_path}/*.ckpt,timm/test_resnet@random", *plugin, *QUICK]
    assert main([*words, "--results", str(tmp_path / "results")]) == 0
    out = capsys.readouterr().out
    for row in ("random (floor)", "tiny@small", "epoch1.ckpt", "epoch2.ckpt", "timm/test_resnet@random"):
        assert len(re.findall(rf"^(?:── )?\S*{re.escape(row)}(?: ──)?  .*\d ± ", out, re.MULTILINE)) == 1, row
    assert re.search(r"^tiny@small .* 12\.3$", out, re.MULTILINE), "published, of conv5"
    assert "data synthetic, several encoders, preset small" in out
    (saved,) = (tmp_path / "results" / "tables").glob("*.md")
    assert "convnet: 24 pixels, middle 0.5, bilinear" in saved.read_text(encoding="utf-8")
    assert "https://example.org/table" in out
    found = {
        record.source.checkpoint.token if record.source.checkpoint else "random": record
        for record in read_all(tmp_path / "results/records")[0]
    }
    checkpoint = found["tiny@small"].source.checkpoint
    assert checkpoint
    assert checkpoint.layout == {"container": "state_dict", "prefix": "module."}
    assert checkpoint.licence == "MIT"
    assert checkpoint.input["crop"] == 0.5
    first, second = (found[f"file/{tmp_path}/epoch{n}.ckpt"] for n in (1, 2))
    assert first.measurements == second.measurements
    assert first.identity.weights == second.identity.weights == found["tiny@small"].identity.weights
    assert first.cost.extract_seconds > 0
    assert second.cost.extract_seconds == 0, (
        "features of equal weights are extracted once, whatever the files are called"
    )
    assert found["tiny@small"].cost.extract_seconds > 0, "these weights get images of another size here"


def test_files_for_an_encoder_from_a_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--encoder-from builds the encoder, its taps are the paths of modules, and files of its weights are detected."""
    torch.save(network().state_dict(), tmp_path / "own.pt")
    words = [
        "--encoder-from",
        "tests.checkpoints.test_resolve:network",
        "--methods",
        f"random,file/{tmp_path}/own.pt",
        *QUICK,
    ]
    words += ["--results", str(tmp_path / "results")]
    assert main([*words, "--taps", "0,2"]) == 0
    assert re.search(r"^method +0 +2$", capsys.readouterr().out, re.MULTILINE)
    assert main([*words, "--taps", "layer9"]) == 2
    assert "has no tap 'layer9'. Known: 0, 1, 2, 3." in capsys.readouterr().err
    assert main([*words[2:], "--encoder-from", "tests.checkpoints.test_resolve:nothing"]) == 2
    assert "--encoder-from tests.checkpoints.test_resolve:nothing: fails" in capsys.readouterr().err
