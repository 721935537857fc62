"""The picture of a pretext task: heads that are kept or taught, images that are chosen, panels, and how it is drawn."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sslbench.bench.checkpoints import store as checkpoints
from sslbench.bench.cli import main
from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, Method, Panel, TrainInfo
from sslbench.bench.planning.build import plan
from sslbench.bench.planning.plan import Data, Plan, Request
from sslbench.bench.plugins.discovery import plugins
from sslbench.bench.run import encoder as weights
from sslbench.bench.visualise import pretext as show
from sslbench.bench.visualise.grid import CELL, GAP, MARGIN, Words, sheet
from sslbench.bench.visualise.pretext import answers, method_of, of_all_classes
from sslbench.methods import moco as moco_file
from sslbench.methods._patches import alike
from sslbench.methods._tiles import cut, joined
from sslbench.methods.jigsaw import Jigsaw
from sslbench.methods.moco import MoCo
from sslbench.methods.rotnet import RotNet
from sslbench.methods.supervised import Supervised

CPU = torch.device("cpu")
FACTS = TrainInfo(images=64, classes=10, image_size=32)
TRAINED = [plugin.name for plugin in plugins("method").values() if plugin.constants.get("trains", True)]
SETTINGS = ("synthetic.train=100", "synthetic.test=50", "recipe.views=96", "recipe.batch_size=16")
QUICK = [word for setting in (*SETTINGS, "convnet.width=4") for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of weights and a bundle of the test's own, so that it knows what is there."""
    monkeypatch.setattr(checkpoints, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(checkpoints, "BUNDLE", tmp_path / "bundle")


def planned(name: str, *assignments: str, **request: Any) -> Plan:
    """A plan that pretrains one method for a few steps."""
    if plugins("method")[name].constants.get("input_mode") == "patches":
        request = {"encoder": "vit"} | request
    narrow = "vit.width=16" if request.get("encoder") == "vit" else "convnet.width=4"
    return plan(Request(methods=(name,), protocols=None, assignments=(*SETTINGS, narrow, *assignments), **request))


def finished(work: Generator[Any, None, Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def made(of: Plan) -> tuple[Method, str]:
    """The plan's method with its heads, and where they came from."""
    return finished(method_of(of, of.jobs[0], Data(of), CPU))


def pictures(method: Method, of: Plan) -> list[Panel]:
    """The panels of eight test images."""
    return answers(method, Data(of).probing(method.needs).test, torch.arange(8), 0, CPU)


def same(some: list[Panel], others: list[Panel]) -> bool:
    return len(some) == len(others) and all(
        one.title == other.title and one.captions == other.captions and torch.equal(one.images, other.images)
        for one, other in zip(some, others, strict=True)
    )


def batch_from(data: Dataset, size: int = 12) -> Batch:
    return Batch(images=data.test.images[:size], indices=torch.arange(size), labels=data.test.labels[:size])


@torch.no_grad()
def panels_of(method: Method, batch: Batch, seed: int = 0) -> list[Panel]:
    torch.manual_seed(seed)
    return method.eval().panels(batch)


def answering(choice: int, choices: int) -> nn.Module:
    """A head that is sure of one answer, whatever it is asked."""

    class Sure(nn.Module):
        def forward(self, embeddings: Tensor) -> Tensor:
            return 9.0 * torch.eye(choices)[choice].expand(len(embeddings), choices)

    return Sure()


def plugin(folder: Path, name: str, loss: str, panels: str = "") -> str:
    """A method file with a linear head; returns its path."""
    path = folder / f"{name}.py"
    path.write_text(
        f'"""{name}: made by a test. https://example.org"""\n\n'
        "import os, signal\nimport torch\nfrom sslbench import Method, Panel\n\n"
        f"class {name.title()}(Method):\n"
        "    def __init__(self, encoder, facts, *, size: int = 3):\n"
        "        super().__init__(encoder, facts)\n"
        "        self.head = torch.nn.Linear(encoder.dim, 1)\n"
        "        self.register_buffer('step', torch.zeros(()))\n"
        "    def loss(self, batch):\n"
        "        self.step += 1\n"
        f"        {loss}\n"
        "        return (self.head(self.encoder(batch.images)) - torch.rand(())).square().mean()\n"
        f"{panels}\n"
    )
    return str(path)


PANELS = "    def panels(self, batch):\n        return [Panel(title='image', images=batch.images)]"


def test_a_picture_is_written_and_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show METHOD` pretrains where nothing is there, writes a picture, and says where; later, all is in the cache."""
    words = ["show", "rotnet", "--results", str(tmp_path / "results"), "--images", "3", *QUICK]
    assert main(words) == 0
    file = tmp_path / "results" / "figures" / "show-rotnet.png"
    assert capsys.readouterr().out == f"rotnet  seed 0  encoder and heads pretrained now\nfigure   {file}\n"
    first = Image.open(file)
    assert first.width == 2 * MARGIN + 3 * CELL + 2 * GAP
    assert 3 * CELL < first.height < 6 * CELL
    assert main([*words, "--out", str(tmp_path / "here.png"), "--seeds", "0,1", "--images", "5"]) == 0
    assert "encoder and heads from the cache" in capsys.readouterr().out
    larger = Image.open(tmp_path / "here.png")
    assert larger.width == first.width
    assert larger.height > first.height + 2 * CELL
    beginnings = [np.asarray(picture)[: 2 * CELL].astype(int) for picture in (first, larger)]
    assert np.abs(beginnings[0] - beginnings[1]).mean() < 2, "the same images first"


def test_dry_run_says_what_would_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run tells where the encoder would come from and writes nothing."""
    assert main(["show", "rotnet", "--dry-run", "--results", str(tmp_path / "results"), *QUICK]) == 0
    assert "to pretrain" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TRAINED)
def test_heads_are_kept_or_taught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept heads show what the pretrained method shows; lost ones are taught once, and the encoder keeps every bit."""
    of, kept = planned(name), []
    save = checkpoints.save_heads

    def noted(path: Path, method: Method, facts: dict[str, Any]) -> None:
        kept.append(copy.deepcopy(method))
        save(path, method, facts)

    monkeypatch.setattr(checkpoints, "save_heads", noted)
    monkeypatch.setattr(weights, "flops_of_step", lambda *_: 0)  # takes longer than all the rest
    assert made(of)[1] == "encoder and heads pretrained now"
    monkeypatch.setattr(weights, "pretrain", None)
    method, origin = made(of)
    assert origin == "encoder and heads from the cache"
    assert same(pictures(method, of), pictures(kept[0], of))
    for entry, value in kept[0].state_dict().items():
        assert torch.equal(method.state_dict()[entry], value), entry
    heads = checkpoints.cached_heads(of.jobs[0].recipe_hash)
    tensors, facts = checkpoints.tensors_in(heads)
    assert not any(entry.startswith("encoder.") for entry in tensors)
    assert facts["recipe_hash"] == of.jobs[0].recipe_hash

    heads.unlink()
    method, origin = made(of)
    assert re.fullmatch(r"encoder from the cache, (heads taught now on it, frozen, in \d+ steps|no heads .*)", origin)
    for entry, value in kept[0].encoder.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[entry], value), entry
    monkeypatch.setattr(show, "pretrain", None)
    again, origin = made(of)
    assert "taught earlier" in origin or origin.endswith("no heads to teach")
    assert same(pictures(again, of), pictures(method, of))


def test_a_teacher_starts_as_the_loaded_encoder() -> None:
    """MoCo's key encoder has the weights of the encoder that was loaded, and following it changes nothing."""
    of = planned("moco")
    made(of)
    checkpoints.cached_heads(of.jobs[0].recipe_hash).unlink()
    method, _ = made(of)
    assert isinstance(method, MoCo)
    assert isinstance(method.key, nn.Sequential)
    pairs = zip(method.key[0].parameters(), method.encoder.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.equal(method.key[1].weight, method.query[1].weight)
    assert method.queue.place > 0


def test_a_bundled_encoder_s_heads_are_taught(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Encoders come with the project without heads: the first picture teaches them, the second finds them."""
    made(of := planned("rotnet"))
    file = checkpoints.cached(of.jobs[0].recipe_hash)
    checkpoints.bundle(file, "synthetic", "convnet")
    file.unlink()
    words = ["show", "rotnet", "--results", str(tmp_path), *QUICK]
    for when in ("now", "earlier"):  # the heads in the cache were learnt for weights that were not yet rounded
        assert main(words) == 0
        assert f"encoder bundled, heads taught {when} on it, frozen, in 2 steps" in capsys.readouterr().out


def test_heads_of_other_weights_are_not_taken() -> None:
    """Heads made for another encoder, or for other settings, and damaged ones, are no heads, and nothing is filled."""
    torch.manual_seed(0)
    method, other = (RotNet(ConvNet(32, width=4), FACTS) for _ in range(2))
    half = RotNet(copy.deepcopy(method.encoder), FACTS, angles=(0, 180))
    path = checkpoints.cached_heads("0" * 16)
    assert checkpoints.load_heads(path, method) is None
    for some in (other, half):
        checkpoints.save_heads(path, some, {})
        before = method.head.weight.clone()
        assert checkpoints.load_heads(path, method) is None
        assert torch.equal(method.head.weight, before)
    checkpoints.save_heads(path, method, {"method": "rotnet"})
    path.write_bytes(path.read_bytes()[:-4])
    assert checkpoints.load_heads(path, method) is None
    checkpoints.save_heads(path, method, {"method": "rotnet"})
    with torch.no_grad():
        method.head.weight.zero_()
    facts = checkpoints.load_heads(path, method)
    assert facts is not None
    assert facts["method"] == "rotnet"
    assert torch.equal(method.head.weight, before)


def test_interrupted_teaching_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while heads are taught exits with 130; the same command goes on and ends as if never stopped."""
    stop = "if self.step == 6 and os.environ.get('STOP'): os.kill(os.getpid(), signal.SIGINT)"
    file = plugin(tmp_path, "resting", stop, PANELS)
    words = ["show", "resting", "--plugin", file, "--results", str(tmp_path), *QUICK]
    assert main(words) == 0
    (heads,) = (tmp_path / "cache" / "encoders").glob("*.heads.safetensors")
    found = []
    for stops in (False, True):
        heads.unlink()
        if stops:
            monkeypatch.setenv("STOP", "1")
            assert main(words) == 130
            assert not heads.exists()
            monkeypatch.delenv("STOP")
        assert main(words) == 0
        found.append(checkpoints.tensors_in(heads)[0])
    assert "heads taught now" in capsys.readouterr().out
    assert all(torch.equal(found[0][entry], found[1][entry]) for entry in found[0])
    assert not list(heads.parent.glob("*.partial"))


def test_a_loss_that_diverges_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A method that cannot be trained exits with 1, names the step and draws nothing."""
    file = plugin(tmp_path, "bursting", "if self.step == 4: return self.head.weight.sum() * float('nan')", PANELS)
    assert main(["show", "bursting", "--plugin", file, "--results", str(tmp_path), *QUICK]) == 1
    assert "failed: bursting: the loss was nan at step 4" in capsys.readouterr().err
    assert not list(tmp_path.glob("figures/*.png"))


def test_what_cannot_be_shown_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method without panels, classes that are not the shown images', captions that they lack, and bad files."""
    monkeypatch.setattr(show, "encoder_of", None)
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "own" / place).mkdir(parents=True)
        for n in range(20):
            picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            picture.save(tmp_path / "own" / place / f"{n}.png")
    silent = plugin(tmp_path, "silent", "pass")
    reader = Path(plugin(tmp_path, "reader", "pass", PANELS))
    reader.write_text(reader.read_text().replace("(Method):\n", "(Method):\n    needs = frozenset({'captions'})\n"))
    own = ["--dataset", "folder", "--data-dir", str(tmp_path / "own"), "--pretrain-dataset", "synthetic"]
    quick = [word for setting in SETTINGS[2:] for word in ("--set", setting)]
    for words, told in (
        (["silent", "--plugin", silent, *QUICK], "silent does not say how its task looks"),
        (["supervised", *own, *quick], "supervised learns the classes of synthetic, which own does not have"),
        (["reader", "--plugin", str(reader), *own, *quick], "reader needs captions, which own does not provide"),
        (["rotnet", "--out", str(tmp_path / "own" / "x.pdf"), *QUICK], ".png"),
        (["rotnet", "--out", f"{silent}/x.png", *QUICK], "cannot be written"),
    ):
        assert main(["show", *words, "--results", str(tmp_path / "results")]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    os.rename(tmp_path / "own", tmp_path / "own.png")
    assert main(["show", "rotnet", "--out", str(tmp_path / "own.png"), *QUICK]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_images_are_of_different_classes() -> None:
    """One of each class before a second of any, all of them where there are few, and the seed says which."""
    labels = torch.tensor([0] * 20 + [1] * 3 + [2] * 10 + [3])
    chosen = of_all_classes(labels, 9, seed=0)
    assert sorted(labels[chosen[:4]].tolist()) == [0, 1, 2, 3]
    assert sorted(labels[chosen[4:7]].tolist()) == [0, 1, 2]
    assert len(set(chosen.tolist())) == 9
    assert torch.equal(chosen, of_all_classes(labels, 9, seed=0))
    assert not torch.equal(chosen, of_all_classes(labels, 9, seed=1))
    assert sorted(of_all_classes(labels, 64, seed=0).tolist()) == list(range(34))


def test_a_bank_is_asked_only_for_places_that_it_has(tiny: Dataset) -> None:
    """Test images may be more than the train images that a memory bank has room for."""
    seen = []

    class Looking(RotNet):
        def panels(self, batch: Batch) -> list[Panel]:
            seen.append(batch.indices)
            return super().panels(batch)

    method = Looking(ConvNet(32, width=4), TrainInfo(images=7, classes=10, image_size=32))
    answers(method, tiny.test, torch.arange(20), 0, CPU)
    assert seen[0].max() < 7
    assert not method.training


def test_every_row_is_a_clip_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that learns from clips is given each clip once, though images are many more."""
    panels = "    def panels(self, batch):\n        return [Panel(title='clip', images=batch.clips[:, 0])]"
    file = Path(plugin(tmp_path, "filming", "pass", panels))
    file.write_text(file.read_text().replace("(Method):\n", "(Method):\n    needs = frozenset({'clips'})\n"))
    drawn = []
    monkeypatch.setattr(show, "sheet", lambda panels, *_, **__: drawn.extend(panels))
    assert main(["show", "filming", "--plugin", str(file), "--results", str(tmp_path), "--images", "20", *QUICK]) == 0
    assert len(drawn[0].images) == len(drawn[0].images.unique(dim=0)) == 5


@pytest.mark.parametrize("answer", range(4))
def test_rotnet_turns_back_by_what_it_says(answer: int, tiny: Dataset) -> None:
    """Asked by every angle, each image is turned back by the answer, and is itself again where that is right."""
    method = RotNet(ConvNet(32, width=4), FACTS)
    method.head = answering(answer, 4)  # type: ignore[assignment]
    image, turned, back = panels_of(method, batch_from(tiny))
    asked = [int(caption.removeprefix("by ").removesuffix("°")) for caption in turned.captions]
    assert {*asked} == {0, 90, 180, 270}
    for n, angle in enumerate(asked):
        assert torch.equal(turned.images[n], image.images[n].rot90(angle // 90, (1, 2)))
        assert torch.equal(back.images[n], turned.images[n].rot90(-answer, (1, 2)))
        right = "right" if angle == 90 * answer else "wrong"
        assert back.captions[n].startswith(f"{right}: {90 * answer}°\n0°:")
        assert f"{90 * answer}°:\N{NO-BREAK SPACE}100%" in back.captions[n]


def test_rotnet_shows_oblique_angles(tiny: Dataset) -> None:
    """Turned by what is no quarter turn, images are the inner squares that the encoder sees, turned back too."""
    _, turned, back = panels_of(RotNet(ConvNet(32, width=4), FACTS, angles=(0, 45)), batch_from(tiny))
    assert turned.images.shape == back.images.shape == (12, 3, 22, 22)


def test_jigsaw_puts_back_by_what_it_says(tiny: Dataset) -> None:
    """Where the answer is right the tiles lie as in the image; elsewhere they are the same tiles in another order."""
    method = Jigsaw(ConvNet(32, width=4), FACTS, permutations=2, gap=0.0)
    method.head = answering(1, 2)  # type: ignore[assignment]
    part, shuffled, back = panels_of(method, batch_from(tiny))
    whole = joined(alike(cut(part.images, 10, 10)))
    assert whole.shape == (12, 3, 36, 36)
    right = [caption.startswith("right, 100%") for caption in back.captions]
    assert 0 < sum(right) < 12
    for n in range(12):
        assert torch.equal(back.images[n], whole[n]) == right[n]
        assert torch.equal(shuffled.images[n], whole[n]) != right[n]
        assert torch.equal(back.images[n].flatten().sort()[0], whole[n].flatten().sort()[0])


def test_moco_ranks_the_key_in_the_dictionary(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal views the key is the query itself, first of all; the nearest other is by cosine, never the same."""
    monkeypatch.setattr(moco_file, "views", lambda images: images.float() / 255)
    method = MoCo(ConvNet(32, width=4), FACTS, negatives=64)
    batch = batch_from(tiny)
    image, query, key, nearest = panels_of(method, batch)
    assert torch.equal(image.images, batch.images)
    assert torch.equal(query.images, key.images)
    assert all(caption.startswith("rank 1 of 65 keys\n") for caption in key.captions)
    assert all(caption.endswith("cosine 1.00") for caption in key.captions)
    with torch.no_grad():
        embeddings = nn.functional.normalize(method.query(query.images), dim=1)
    for n in range(12):
        others = [(embeddings[n] @ embeddings[m]).item() if m != n else -2.0 for m in range(12)]
        best = max(range(12), key=others.__getitem__)
        assert torch.equal(nearest.images[n], key.images[best])
        assert nearest.captions[n] == f"cosine {others[best]:.2f}"

    query_of = copy.deepcopy(method.query)
    method.key = nn.Sequential(query_of, answering(0, 128))  # keys that are all the same and no query's
    method.queue.keys.copy_(embeddings[torch.arange(64) % 12])
    ranks = [caption.split()[1] for caption in panels_of(method, batch)[2].captions]
    for n, rank in enumerate(ranks):
        higher = sum((embeddings[n] @ other).item() > embeddings[n, 0].item() for other in method.queue.keys)
        assert rank == str(higher + 1)


def test_supervised_says_a_class(tiny: Dataset) -> None:
    """The class that is thought likeliest is held against the label."""
    method = Supervised(ConvNet(32, width=4), FACTS)
    method.head = answering(3, 10)  # type: ignore[assignment]
    batch = batch_from(tiny)
    assert batch.labels is not None
    image, view = panels_of(method, batch)
    for label, given, said in zip(batch.labels.tolist(), image.captions, view.captions, strict=True):
        assert given == f"class {label}"
        assert said == f"class 3, 100%: {'right' if label == 3 else 'wrong'}"


def test_a_sheet_is_as_large_as_its_panels(tmp_path: Path) -> None:
    """Small images are enlarged pixel by pixel; a wide panel has a wide column; labels and words have their place."""
    squares = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    squares[:, 0, 0, 0] = 255
    wide = torch.rand(2, 3, 8, 24)
    panels = [Panel(title="a", images=squares), Panel(title="b", images=wide, captions=("$x", "word " * 40))]
    sheet(panels, "What it is.", tmp_path / "deep" / "sheet.png", foot="who made it")
    picture = np.asarray(Image.open(tmp_path / "deep" / "sheet.png").convert("RGB")).astype(int)
    assert picture.shape[1] == 2 * MARGIN + 4 * CELL + GAP
    red = (picture == [255, 0, 0]).all(2)
    assert red.sum() == pytest.approx(2 * (CELL / 2) ** 2, rel=0.05)
    assert np.nonzero(red)[1].min() == pytest.approx(MARGIN, abs=3)
    assert (picture[:10] == 255).all()
    assert (picture[:, :20] == 255).all()
    assert (picture[:, -20:] == 255).all()
    sheet(panels, "What it is.", tmp_path / "labelled.png", rows=("1: a", "2: an image"))
    assert Image.open(tmp_path / "labelled.png").width > picture.shape[1] + 50


def test_words_stay_in_their_column() -> None:
    """Lines are as wide as allowed at most; only a word that is too long by itself, or held together, is wider."""
    words = Words("a line of several words, some of them longer\nand one more", 8.5, 150)
    assert len(words.lines) > 2
    assert " ".join(words.lines) == "a line of several words, some of them longer and one more"
    assert "and one more" in words.lines
    assert 75 < words.width <= 150
    assert words.height == len(words.lines) * words.leading
    assert Words("held\N{NO-BREAK SPACE}together or not", 8.5, 60).lines == ["held\N{NO-BREAK SPACE}together", "or not"]
    assert Words("", 8.5, 100).lines == []
