"""Weights that others trained: what is registered, what a word names, and one table with what is trained here."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from sslbench.bench.checkpoints import detect as recognition, resolve as tokens, store as checkpoints
from sslbench.bench.checkpoints.registry import Checkpoint, checkpoint, registered
from sslbench.bench.cli import main
from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.input_spec import InputSpec
from sslbench.bench.plugins.discovery import FOLDERS, plugins
from sslbench.bench.records import record as records
from tests import layouts

KNOWN = {kind: plugins(kind) for kind in FOLDERS}
ALL = [tokens.with_plugin(found, KNOWN) for found in registered(KNOWN["method"].values())]
FALLBACK = tokens.with_plugin(Checkpoint(token="", method="", name=None, kind="file", encoder="convnet"), KNOWN)
BUILT: dict[Any, Encoder] = {}
build = recognition.built
QUICK = ["--set", "synthetic.train=60", "--set", "synthetic.test=20", "--set", "knn.k=5", "--protocol", "knn"]


@pytest.fixture(autouse=True)
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each encoder on no device is built once for all tests, which only read it: the list has large ones."""

    def built(found: Checkpoint, image_size: int) -> Encoder:
        assert found.plugin
        key = (found.plugin.path, str(found.settings), found.input_spec, image_size)
        if key not in BUILT:
            BUILT[key] = build(found, image_size)
        return BUILT[key]

    monkeypatch.setattr(recognition, "built", built)


def named(*words: str) -> list[Checkpoint]:
    """What the words name, at 32 pixels."""
    return [found for word in words for found in tokens.checkpoints(word, KNOWN, FALLBACK, 32)]


def network() -> nn.Module:
    """A network of a user's own."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, 2), nn.ReLU(inplace=True))


def test_every_registered_checkpoint_can_be_what_it_says() -> None:
    """Addresses are https, numbers fractions of taps that the encoder has, and the encoder can be built."""
    assert len({found.token for found in ALL}) == len(ALL) >= 40
    for found in ALL:
        assert found.url.startswith("https://"), found.token
        assert found.file
        assert found.file.name.startswith(found.token)
        assert found.input_spec
        encoder = recognition.built(found, 32)
        for by_tap in found.published.values():
            assert by_tap.keys() <= set(encoder.taps)
            assert all(0 < value < 1 for value in by_tap.values())
        assert not found.published or found.source.startswith("https://"), found.token


def test_the_words_of_the_issue() -> None:
    """METHOD@NAME, METHOD@published, all@published, with encoder, input and what was published."""
    moco, rotnet, barlow = named("moco@v2_800ep", "rotnet@alexnet", "barlow_twins@rn50")
    assert moco.published == {"linear": {"conv5": 0.711}}
    assert (moco.encoder, moco.input_spec) == ("resnet50", InputSpec())
    assert rotnet.settings["batch_norm"] == 5
    assert barlow.licence
    assert [found.token for found in named("all@published")] == [found.token for found in ALL]
    assert {found.method for found in named("vicreg@published")} == {"vicreg"}
    assert all(tokens.is_checkpoint(word) for word in ("a@b", "timm/x", "file/x.pt", "hf/a/b/c@nin"))
    assert not any(tokens.is_checkpoint(word) for word in ("rotnet", "all", "file", "timm"))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("moco@v2_80ep", "Did you mean 'moco@v2_800ep'"),
        ("mocco@v2_800ep", "Did you mean 'moco'"),
        ("word2vec@x", "word2vec has no checkpoint"),
        ("timm/resnet81", "timm has no network"),
        ("timm/resnet18@best", "after @ timm knows only random"),
        ("timm/resnet18.no_such", "timm has no such weights"),
        ("torchvision/resnet81@random", "torchvision has no network"),
        ("torchvision/resnet18@V9", "no such weights"),
        ("file/none.pth", "none.pth is no file"),
        ("file/none/*.ckpt", "no file matches"),
        ("hf/a/b/c.pth", "write hf/OWNER/REPOSITORY/FILE@ENCODER"),
    ],
)
def test_a_word_that_names_nothing_is_refused(word: str, told: str) -> None:
    """One line that names the nearest word."""
    with pytest.raises(UserError, match=told) as refused:
        named(word)
    assert "\n" not in str(refused.value)


def test_a_misspelt_fact_of_a_checkpoint_is_refused() -> None:
    """A method file's literal says nothing that nobody reads."""
    with pytest.raises(UserError, match="'lienar' is not known"):
        checkpoint("moco", "x", {"url": "https://example.org/x.pth", "lienar": 0.5})


def test_libraries_say_what_their_networks_want() -> None:
    """Side, crop, resampling and normalisation come from the library's own configuration."""
    vit, net = named("timm/vit_small_patch14_dinov2.lvd142m@random", "torchvision/shufflenet_v2_x0_5")
    assert vit.input_spec == InputSpec(size=518, crop=1.0, resampling="bicubic")
    assert (vit.kind, vit.encoder, vit.published) == ("untrained", "timm/vit_small_patch14_dinov2", {})
    assert net.input_spec == InputSpec()
    assert net.url == "torchvision:shufflenet_v2_x0_5.IMAGENET1K_V1"


def test_a_file_is_recognised_by_its_tensors(tmp_path: Path) -> None:
    """A residual network, the asked-for encoder and a file of our own are told apart; a glob is a list."""
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in resnet18().state_dict().items()}}, tmp_path / "a.ckpt")
    torch.save(ConvNet(32).state_dict(), tmp_path / "b.ckpt")
    a, b = named(f"file/{tmp_path}/*.ckpt")
    assert (a.encoder, a.input_spec) == ("resnet18", InputSpec())
    assert (b.encoder, b.input_spec) == ("convnet", None)
    facts = {"method": "colorization"}
    checkpoints.save(tmp_path / "ours.safetensors", ConvNet(32), facts)
    assert named(f"file/{tmp_path}/ours.safetensors")[0].input_mode == "lightness", "as the method that made it wants"
    torch.save({"x.weight": torch.ones(2)}, tmp_path / "c.ckpt")
    with pytest.raises(UserError, match=r"do not fit the encoder: 0 % .*@torchvision/resnet34"):
        named(f"file/{tmp_path}/c.ckpt")
    with pytest.raises(UserError, match="do not fit the encoder"):
        named(f"file/{tmp_path}/b.ckpt@nin")


def test_a_folder_of_files_is_looked_at_with_encoders_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten checkpoints of a training run ask for no encoder that the first did not."""
    asked = []
    real = recognition.built
    monkeypatch.setattr(recognition, "built", lambda *given: (asked.append(given), real(*given))[1])
    for epoch in range(10):
        torch.save(ConvNet(32).state_dict(), tmp_path / f"{epoch}.ckpt")
    word = f"file/{tmp_path}/*.ckpt@convnet"
    assert [found.encoder for found in named(word)] == ["convnet"] * 10
    assert len(asked) == 1


def test_the_stem_for_small_pictures_is_told_apart(tmp_path: Path) -> None:
    """solo-learn pads its 3 x 3 stem by 2 and others by 1, which no shape says; at other sizes pictures are resized."""
    torch.manual_seed(0)
    theirs = resnet18()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=2, bias=False), nn.Identity()  # type: ignore[assignment]
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    torch.save(layouts.solo(state), tmp_path / "solo.ckpt")
    torch.save(layouts.lightly(state), tmp_path / "lightly.ckpt")
    solo, lightly = named(f"file/{tmp_path}/solo.ckpt", f"file/{tmp_path}/lightly.ckpt")
    assert (solo.encoder, solo.changed, solo.input_spec) == ("resnet18", {"stem_padding": 2}, None)
    assert solo.facts["encoder_settings"] == solo.changed
    assert (lightly.encoder, lightly.changed) == ("resnet18", {})
    assert named(f"file/{tmp_path}/solo.ckpt@resnet18")[0].changed == {}, "as told"
    assert solo.plugin
    encoder = solo.plugin.load()(32, **solo.settings).eval()
    checkpoints.load(tmp_path / "solo.ckpt", encoder)
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.eval()((x - encoder.mean) / encoder.std)
        torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)
    (large,) = tokens.checkpoints(f"file/{tmp_path}/solo.ckpt", KNOWN, FALLBACK, 256)
    assert (large.changed, large.input_spec) == ({"stem_padding": 2}, InputSpec(size=32, crop=1.0))


def test_one_table_of_all_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A registered checkpoint with its published number, a folder's files and untrained networks."""
    (tmp_path / "tiny.py").write_text(
        textwrap.dedent(
            '''
            """Tiny: made by a test. https://example.org"""
            from typing import ClassVar
            from sslbench import Method
            class Tiny(Method):
                checkpoints: ClassVar = {
                    "small": {
                        "url": "https://example.org/small.pth", "encoder": "convnet", "licence": "MIT",
                        "input": {"size": 24, "crop": 0.5}, "knn": 0.123, "source": "https://example.org/table",
                    },
                }
                def loss(self, batch):
                    return self.encoder(batch.images).mean()
            '''
        ).lstrip()
    )
    plugin = ["--plugin", str(tmp_path / "tiny.py")]
    place = tokens.published("tiny@small", plugins("method", (plugin[1],)))[0].file
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
        assert len(re.findall(rf"^\S*{re.escape(row)}  .*\d ± ", out, re.MULTILINE)) == 1, row
    assert re.search(r"^tiny@small .* 12\.3$", out, re.MULTILINE), "published, of conv5"
    assert "encoder of tiny@small: convnet: 24 pixels, middle 0.5, bilinear" in " ".join(out.split())
    assert "https://example.org/table" in out
    found = {
        record["source"].get("token", "random"): record for record in records.read_all(tmp_path / "results/records")[0]
    }
    source = found["tiny@small"]["source"]
    assert source["layout"] == {"container": "state_dict", "prefix": "module."}
    assert source["licence"] == "MIT"
    assert source["input"]["crop"] == 0.5
    first, second = (found[f"file/{tmp_path}/epoch{n}.ckpt"] for n in (1, 2))
    assert first["metrics"] == second["metrics"]
    assert first["identity"]["weights"] == second["identity"]["weights"] == found["tiny@small"]["identity"]["weights"]
    assert first["cost"]["extract_seconds"] > 0
    assert second["cost"]["extract_seconds"] == 0, "the same weights are not read twice, whatever they are called"
    assert found["tiny@small"]["cost"]["extract_seconds"] > 0, "they see other pictures here"


def test_an_encoder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--encoder-from takes a function's network, taps are its modules' paths, and files of its weights fill it."""
    torch.save(network().state_dict(), tmp_path / "own.pt")
    words = ["--encoder-from", "tests.test_foreign:network", "--methods", f"random,file/{tmp_path}/own.pt", *QUICK]
    words += ["--results", str(tmp_path / "results")]
    assert main([*words, "--taps", "0,2"]) == 0
    assert re.search(r"^method +0 +2$", capsys.readouterr().out, re.MULTILINE)
    assert main([*words, "--taps", "layer9"]) == 2
    assert "has no tap 'layer9'. Known: 0, 1, 2, 3." in capsys.readouterr().err
    assert main([*words[2:], "--encoder-from", "tests.test_foreign:nothing"]) == 2
    assert "--encoder-from tests.test_foreign:nothing: fails" in capsys.readouterr().err


def test_an_exported_encoder_is_torchvisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The card's own lines load the file into torchvision's network; read back here, it is the same encoder."""
    words = ["--methods", "rotnet", "--encoder", "resnet18", "--set", "recipe.views=64", "--set", "recipe.batch_size=8"]
    words += ["--set", "synthetic.train=16", "--set", "synthetic.test=10", "--results", str(tmp_path)]
    assert main(["export", *words, "--out", str(tmp_path / "out")]) == 0
    (file,), (card,) = (list((tmp_path / "out").glob(ending)) for ending in ("*.safetensors", "*.md"))
    text = card.read_text()
    for part in ("# rotnet, resnet18, pretrained on synthetic", "views = 64", "angles = [0, 90, 180, 270]", "commit"):
        assert part in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    names: dict[str, nn.Module] = {}
    exec(code[1].replace(file.name, str(file)), names)
    (found,) = named(f"file/{file}")
    assert found.plugin
    encoder = found.plugin.load()(32, **found.settings)
    checkpoints.load(file, encoder)
    made = names["network"].eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), made((x - encoder.mean) / encoder.std), atol=1e-4, rtol=1e-4)
