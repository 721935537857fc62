"""The picture of a pretext task: heads that are stored or trained, the choice of images, and the panels of methods."""

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
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Plan, PlannedDatasets, Request
from sslbench.bench.plugins.discovery import find_plugins
from sslbench.bench.run import encoder as encoder_module
from sslbench.bench.visualise import pretext
from sslbench.bench.visualise.grid import GAP, IMAGE_SIDE, MARGIN
from sslbench.bench.visualise.pretext import balanced_indices, load_method, pretext_panels
from sslbench.methods import moco as moco_file
from sslbench.methods._patches import normalised_patches
from sslbench.methods._tiles import cut_tiles, join_tiles
from sslbench.methods.jigsaw import Jigsaw
from sslbench.methods.moco import MoCo
from sslbench.methods.rotnet import RotNet
from sslbench.methods.supervised import Supervised

CPU = torch.device("cpu")
TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)
TRAINED = [plugin.name for plugin in find_plugins("method").values() if plugin.constants.get("trains", True)]
SETTINGS = ("synthetic.train=100", "synthetic.test=50", "recipe.views=96", "recipe.batch_size=16")
QUICK = [word for setting in (*SETTINGS, "convnet.width=4") for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache and an empty bundle for each test."""
    monkeypatch.setattr(checkpoints.pretrained_files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(checkpoints.pretrained_files, "BUNDLE", tmp_path / "bundle")


def plan_of(name: str, *assignments: str, **request: Any) -> Plan:
    """A plan that pretrains one method for a few steps."""
    if find_plugins("method")[name].constants.get("input_mode") == "patches":
        request = {"encoder": "vit"} | request
    narrow = "vit.width=16" if request.get("encoder") == "vit" else "convnet.width=4"
    return build_plan(
        Request(methods=(name,), protocols=None, assignments=(*SETTINGS, narrow, *assignments), **request)
    )


def result_of(work: Generator[Any, None, Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def method_and_origin(plan: Plan) -> tuple[Method, str]:
    """The plan's method with its heads, and where they came from."""
    return result_of(load_method(plan, plan.jobs[0], PlannedDatasets(plan), CPU))


def panels_of_test_images(method: Method, plan: Plan) -> list[Panel]:
    """The panels of eight test images."""
    return pretext_panels(method, PlannedDatasets(plan).probing_dataset(method.needs).test, torch.arange(8), 0, CPU)


def same_panels(some: list[Panel], others: list[Panel]) -> bool:
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


def constant_head(choice: int, choices: int) -> nn.Module:
    """A head that always predicts this choice with confidence."""

    class ConstantHead(nn.Module):
        def forward(self, embeddings: Tensor) -> Tensor:
            return 9.0 * torch.eye(choices)[choice].expand(len(embeddings), choices)

    return ConstantHead()


def write_plugin(folder: Path, name: str, loss: str, panels: str = "") -> str:
    """A method file with a linear head; returns its path."""
    path = folder / f"{name}.py"
    path.write_text(
        f'"""{name}: made by a test. https://example.org"""\n\n'
        "import os, signal\nimport torch\nfrom sslbench import Method, Panel\n\n"
        f"class {name.title()}(Method):\n"
        "    def __init__(self, encoder, train_info, *, size: int = 3):\n"
        "        super().__init__(encoder, train_info)\n"
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


def test_show_writes_a_picture_and_prints_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first ``show METHOD`` pretrains and writes a picture; the second takes everything from the cache."""
    words = ["show", "rotnet", "--results", str(tmp_path / "results"), "--images", "3", *QUICK]
    assert main(words) == 0
    (file,) = (tmp_path / "results" / "figures").glob("show-rotnet-*.png")  # settings that are not the default
    assert capsys.readouterr().out == f"rotnet  seed 0  encoder and heads pretrained now\nfigure   {file}\n"
    first = Image.open(file)
    assert first.width == 2 * MARGIN + 3 * IMAGE_SIDE + 2 * GAP
    assert 3 * IMAGE_SIDE < first.height < 6 * IMAGE_SIDE
    assert main([*words, "--out", str(tmp_path / "here.png"), "--seeds", "0,1", "--images", "5"]) == 0
    assert "encoder and heads from the cache" in capsys.readouterr().out
    larger = Image.open(tmp_path / "here.png")
    assert larger.width == first.width
    assert larger.height > first.height + 2 * IMAGE_SIDE
    tops = [np.asarray(picture)[: 2 * IMAGE_SIDE].astype(int) for picture in (first, larger)]
    assert np.abs(tops[0] - tops[1]).mean() < 2, "the same images first"


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--dry-run`` prints where the encoder would come from and writes nothing."""
    assert main(["show", "rotnet", "--dry-run", "--results", str(tmp_path / "results"), *QUICK]) == 0
    assert "to pretrain" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TRAINED)
def test_heads_are_stored_or_trained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored heads give the panels of the pretrained method; lost heads are trained once, the encoder never."""
    plan, saved = plan_of(name), []
    save = checkpoints.save_heads

    def save_and_remember(path: Path, method: Method, metadata: dict[str, Any]) -> None:
        saved.append(copy.deepcopy(method))
        save(path, method, metadata)

    monkeypatch.setattr(checkpoints, "save_heads", save_and_remember)
    monkeypatch.setattr(encoder_module, "count_step_flops", lambda *_: 0)  # slower than the rest of the test
    assert method_and_origin(plan)[1] == "encoder and heads pretrained now"
    monkeypatch.setattr(encoder_module, "pretrain", None)
    method, origin = method_and_origin(plan)
    assert origin == "encoder and heads from the cache"
    assert same_panels(panels_of_test_images(method, plan), panels_of_test_images(saved[0], plan))
    for entry, value in saved[0].state_dict().items():
        assert torch.equal(method.state_dict()[entry], value), entry
    heads = checkpoints.cached_heads_path(plan.jobs[0].recipe_hash)
    tensors, metadata = checkpoints.read_tensors(heads)
    assert not any(entry.startswith("encoder.") for entry in tensors)
    assert metadata["recipe_hash"] == plan.jobs[0].recipe_hash

    heads.unlink()
    method, origin = method_and_origin(plan)
    assert re.fullmatch(
        r"encoder from the cache, (heads trained now on the frozen encoder in \d+ steps|no heads to train)", origin
    )
    for entry, value in saved[0].encoder.state_dict().items():
        assert torch.equal(method.encoder.state_dict()[entry], value), entry
    monkeypatch.setattr(pretext, "pretrain", None)
    again, origin = method_and_origin(plan)
    assert "trained earlier" in origin or origin.endswith("no heads to train")
    assert same_panels(panels_of_test_images(again, plan), panels_of_test_images(method, plan))


def test_a_momentum_encoder_starts_as_the_loaded_encoder() -> None:
    """MoCo's key encoder has the weights of the loaded encoder, and training the heads does not change them."""
    plan = plan_of("moco")
    method_and_origin(plan)
    checkpoints.cached_heads_path(plan.jobs[0].recipe_hash).unlink()
    method, _ = method_and_origin(plan)
    assert isinstance(method, MoCo)
    assert isinstance(method.key, nn.Sequential)
    pairs = zip(method.key[0].parameters(), method.encoder.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.equal(method.key[1].weight, method.query[1].weight)
    assert method.queue.place > 0


def test_heads_of_a_bundled_encoder_are_trained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Bundled encoders have no heads: the first picture trains them and the second finds them in the cache."""
    method_and_origin(plan := plan_of("rotnet"))
    file = checkpoints.cached_encoder_path(plan.jobs[0].recipe_hash)
    checkpoints.bundle_encoder(file, "synthetic", "convnet")
    file.unlink()
    words = ["show", "rotnet", "--results", str(tmp_path), *QUICK]
    for when in ("now", "earlier"):  # the cached heads belong to the weights before rounding
        assert main(words) == 0
        assert f"encoder bundled, heads trained {when} on the frozen encoder in 2 steps" in capsys.readouterr().out


def test_heads_of_other_weights_are_not_loaded() -> None:
    """Heads of another encoder or of other settings, and damaged ones, are ignored and change no weight."""
    torch.manual_seed(0)
    method, other = (RotNet(ConvNet(32, width=4), TRAIN_INFO) for _ in range(2))
    half = RotNet(copy.deepcopy(method.encoder), TRAIN_INFO, angles=(0, 180))
    path = checkpoints.cached_heads_path("0" * 16)
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
    metadata = checkpoints.load_heads(path, method)
    assert metadata is not None
    assert metadata["method"] == "rotnet"
    assert torch.equal(method.head.weight, before)


def test_interrupted_training_of_heads_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while heads are trained exits with 130; the same command resumes and gives the same heads."""
    stop = "if self.step == 6 and os.environ.get('STOP'): os.kill(os.getpid(), signal.SIGINT)"
    file = write_plugin(tmp_path, "resting", stop, PANELS)
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
        found.append(checkpoints.read_tensors(heads)[0])
    assert "heads trained now" in capsys.readouterr().out
    assert all(torch.equal(found[0][entry], found[1][entry]) for entry in found[0])
    assert not list(heads.parent.glob("*.partial"))


def test_a_diverging_loss_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A method that cannot be trained exits with 1, names the step and writes no picture."""
    file = write_plugin(tmp_path, "bursting", "if self.step == 4: return self.head.weight.sum() * float('nan')", PANELS)
    assert main(["show", "bursting", "--plugin", file, "--results", str(tmp_path), *QUICK]) == 1
    assert "failed: bursting: the loss was nan at step 4" in capsys.readouterr().err
    assert not list(tmp_path.glob("figures/*.png"))


def test_an_error_of_a_plugin_shows_its_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its author needs the place; with --debug the error is raised where it occurs."""
    file = write_plugin(
        tmp_path, "clumsy", "pass", "    def panels(self, batch):\n        return [][len(batch.images)]"
    )
    line = Path(file).read_text().splitlines().index("        return [][len(batch.images)]") + 1
    words = ["show", "clumsy", "--plugin", file, "--results", str(tmp_path), *QUICK]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error == f"failed: clumsy: IndexError: list index out of range ({file}:{line}, in panels)\n"
    with pytest.raises(IndexError):
        main([*words, "--debug"])


def test_what_cannot_be_drawn_is_reported_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method without panels, classes or captions that the test images lack, and files that cannot be written."""
    monkeypatch.setattr(pretext, "load_or_pretrain", None)
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "own" / place).mkdir(parents=True)
        for n in range(20):
            picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            picture.save(tmp_path / "own" / place / f"{n}.png")
    silent = write_plugin(tmp_path, "silent", "pass")
    reader = Path(write_plugin(tmp_path, "reader", "pass", PANELS))
    reader.write_text(reader.read_text().replace("(Method):\n", "(Method):\n    needs = frozenset({'captions'})\n"))
    own = ["--dataset", "folder", "--data-dir", str(tmp_path / "own"), "--pretrain-dataset", "synthetic"]
    quick = [word for setting in SETTINGS[2:] for word in ("--set", setting)]
    for words, message in (
        (["silent", "--plugin", silent, *QUICK], "silent cannot draw its pretext task"),
        (["supervised", *own, *quick], "supervised learns the classes of synthetic, which own does not have"),
        (["reader", "--plugin", str(reader), *own, *quick], "reader needs captions, which own does not provide"),
        (["rotnet", "--out", str(tmp_path / "own" / "x.pdf"), *QUICK], ".png"),
        (["rotnet", "--out", f"{silent}/x.png", *QUICK], "cannot be written"),
    ):
        assert main(["show", *words, "--results", str(tmp_path / "results")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    os.rename(tmp_path / "own", tmp_path / "own.png")
    assert main(["show", "rotnet", "--out", str(tmp_path / "own.png"), *QUICK]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_images_are_balanced_over_classes() -> None:
    """One image per class comes before a second one of any class; the seed decides which; small sets are used up."""
    labels = torch.tensor([0] * 20 + [1] * 3 + [2] * 10 + [3])
    chosen = balanced_indices(labels, 9, seed=0)
    assert sorted(labels[chosen[:4]].tolist()) == [0, 1, 2, 3]
    assert sorted(labels[chosen[4:7]].tolist()) == [0, 1, 2]
    assert len(set(chosen.tolist())) == 9
    assert torch.equal(chosen, balanced_indices(labels, 9, seed=0))
    assert not torch.equal(chosen, balanced_indices(labels, 9, seed=1))
    assert sorted(balanced_indices(labels, 64, seed=0).tolist()) == list(range(34))


def test_indices_stay_within_a_memory_bank(tiny: Dataset) -> None:
    """There can be more test images than train images, for which a memory bank has its entries."""
    seen = []

    class Recorder(RotNet):
        def panels(self, batch: Batch) -> list[Panel]:
            seen.append(batch.indices)
            return super().panels(batch)

    method = Recorder(ConvNet(32, width=4), TrainInfo(num_images=7, num_classes=10, image_size=32))
    pretext_panels(method, tiny.test, torch.arange(20), 0, CPU)
    assert seen[0].max() < 7
    assert not method.training


def test_every_row_is_another_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that learns from clips gets each clip once, although there are more images than clips."""
    panels = "    def panels(self, batch):\n        return [Panel(title='clip', images=batch.clips[:, 0])]"
    file = Path(write_plugin(tmp_path, "filming", "pass", panels))
    file.write_text(file.read_text().replace("(Method):\n", "(Method):\n    needs = frozenset({'clips'})\n"))
    drawn = []
    monkeypatch.setattr(pretext, "save_grid", lambda panels, *_, **__: drawn.extend(panels))
    assert main(["show", "filming", "--plugin", str(file), "--results", str(tmp_path), "--images", "20", *QUICK]) == 0
    assert len(drawn[0].images) == len(drawn[0].images.unique(dim=0)) == 5


@pytest.mark.parametrize("answer", range(4))
def test_rotnet_rotates_back_by_its_prediction(answer: int, tiny: Dataset) -> None:
    """Each image is rotated by every angle and then rotated back by the prediction, marked as right or wrong."""
    method = RotNet(ConvNet(32, width=4), TRAIN_INFO)
    method.head = constant_head(answer, 4)  # type: ignore[assignment]
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
    """For angles other than quarter turns the panels show the inner squares that the encoder sees."""
    _, turned, back = panels_of(RotNet(ConvNet(32, width=4), TRAIN_INFO, angles=(0, 45)), batch_from(tiny))
    assert turned.images.shape == back.images.shape == (12, 3, 22, 22)


def test_jigsaw_orders_tiles_by_its_prediction(tiny: Dataset) -> None:
    """A right prediction restores the image; a wrong one shows the same tiles in another order."""
    method = Jigsaw(ConvNet(32, width=4), TRAIN_INFO, permutations=2, gap=0.0)
    method.head = constant_head(1, 2)  # type: ignore[assignment]
    part, shuffled, back = panels_of(method, batch_from(tiny))
    whole = join_tiles(normalised_patches(cut_tiles(part.images, 10, 10)))
    assert whole.shape == (12, 3, 36, 36)
    right = [caption.startswith("right, 100%") for caption in back.captions]
    assert 0 < sum(right) < 12
    for n in range(12):
        assert torch.equal(back.images[n], whole[n]) == right[n]
        assert torch.equal(shuffled.images[n], whole[n]) != right[n]
        assert torch.equal(back.images[n].flatten().sort()[0], whole[n].flatten().sort()[0])


def test_moco_ranks_the_key_in_the_dictionary(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal views the key is the query and has rank 1; the nearest other image is the one of highest cosine."""
    monkeypatch.setattr(moco_file, "moco_views", lambda images: images.float() / 255)
    method = MoCo(ConvNet(32, width=4), TRAIN_INFO, negatives=64)
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
    method.key = nn.Sequential(query_of, constant_head(0, 128))  # all keys are equal, and none equals a query
    method.queue.keys.copy_(embeddings[torch.arange(64) % 12])
    ranks = [caption.split()[1] for caption in panels_of(method, batch)[2].captions]
    for n, rank in enumerate(ranks):
        higher = sum((embeddings[n] @ other).item() > embeddings[n, 0].item() for other in method.queue.keys)
        assert rank == str(higher + 1)


def test_supervised_compares_its_prediction_with_the_label(tiny: Dataset) -> None:
    """The most likely class is marked as right or wrong."""
    method = Supervised(ConvNet(32, width=4), TRAIN_INFO)
    method.head = constant_head(3, 10)  # type: ignore[assignment]
    batch = batch_from(tiny)
    assert batch.labels is not None
    image, view = panels_of(method, batch)
    for label, given, said in zip(batch.labels.tolist(), image.captions, view.captions, strict=True):
        assert given == f"class {label}"
        assert said == f"class 3, 100%: {'right' if label == 3 else 'wrong'}"
