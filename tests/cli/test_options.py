"""Options: each mistake is refused in one line, before any work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sslbench.bench.checkpoints import store
from sslbench.bench.cli import main
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store as records
from sslbench.bench.run import runner
from tests.builders import QUICK_OPTIONS

OWN_DATA = ["--methods", "random", "--dataset", "folder", "--data-dir"]
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "no such method": (["--methods", "moca"], ["moca", "Did you mean 'moco'?"]),
    "no such protocol": (["--methods", "moco", "--protocol", "liner"], ["liner", "Did you mean 'linear'?"]),
    "no such data set": (["--methods", "moco", "--dataset", "cifar"], ["cifar", "cifar10"]),
    "no such data set to pretrain on": (
        ["--methods", "moco", "--pretrain-dataset", "fodler"],
        ["--pretrain-dataset", "fodler", "Did you mean 'folder'?"],
    ),
    "no such encoder": (["--methods", "moco", "--encoder", "resnet19"], ["resnet19", "resnet18"]),
    "no such tap": (["--methods", "random", "--taps", "conv6"], ["conv6", "conv5"]),
    "no such preset": (["--methods", "moco", "--preset", "smal"], ["smal", "small"]),
    "no such option": (["--methods", "moco", "--protocl", "knn"], ["--protocl", "--protocol"]),
    "no such method to show": (["show", "rotnt"], ["rotnt", "Did you mean 'rotnet'?"]),
    "all methods to show": (["show", "all"], ["'all'"]),
    "no method to show": (["show"], ["METHOD"]),
    "nothing to show": (["show", "random"], ["random", "no pretext task"]),
    "no rows to show": (["show", "rotnet", "--images", "0"], ["--images", "1 to 32"]),
    "a picture of an unknown format": (["show", "rotnet", "--out", "x.jpg"], ["--out x.jpg", ".png"]),
    "a picture that cannot be written": (
        ["show", "rotnet", "--out", f"{ROOT}/run_bench.py/x.png"],
        ["--out", "written"],
    ),
    "no such command": (["lst"], ["unknown command 'lst'", "Did you mean 'list'?"]),
    "no such setting": (["--methods", "moco", "--set", "moco.temprature=1"], ["temprature", "temperature"]),
    "setting without value": (["--methods", "moco", "--set", "moco.temperature"], ["plugin.key=value"]),
    "setting of another type": (["--methods", "moco", "--set", "moco.negatives=many"], ["many", "int"]),
    "setting out of range": (["--methods", "moco", "--set", "moco.temperature=0"], ["moco.temperature", "above 0"]),
    "setting of a method that does not run": (["--methods", "random", "--set", "moco.dim=8"], ["moco", "does not run"]),
    "setting not among the choices": (["--methods", "random", "--set", "linear.head=tree"], ["tree", "mlp"]),
    "no training step": (["--methods", "moco", "--set", "recipe.views=0"], ["recipe.views", "at least 1"]),
    "batch of one": (["--methods", "moco", "--set", "recipe.batch_size=1"], ["recipe.batch_size", "at least 2"]),
    "learning rate below zero": (["--methods", "moco", "--set", "recipe.learning_rate=-1"], ["recipe.learning_rate"]),
    "no method named": (["--methods", ","], ["--methods", "names nothing"]),
    "no tap named": (["--methods", "random", "--taps", ","], ["--taps", "names nothing"]),
    "variant of an encoder that has none": (
        ["--methods", "random", "--encoder", "convnet/big"],
        ["convnet/big", "variants"],
    ),
    "no such variant": (
        ["--methods", "instdisc", "--protocol", "negatives", "--variant", "batch=16"],
        ["--variant batch=16", "negatives=16"],
    ),
    "fewer images than a variant's batch": (
        ["--methods", "simclr", "--protocol", "negatives", *QUICK_OPTIONS],
        ["200", "256", "leave batch=256 out", "--variant"],
    ),
    "more clusters than images": (
        ["--methods", "moco", "--protocol", "negatives", *QUICK_OPTIONS, "--set", "negatives.above=21"],
        ["negatives.above = 21", "210 clusters", "200 train images"],
    ),
    "no such network of timm": (["--methods", "random", "--encoder", "timm/resnet19"], ["resnet19", "resnet18"]),
    "seed too large": (["--methods", "random", "--seeds", "4294967296"], ["--seeds", "2147483648"]),
    "pretrain directory without a data set": (
        ["--methods", "moco", "--pretrain-data-dir", "x"],
        ["--pretrain-dataset"],
    ),
    "views too small for the encoder": (
        ["--methods", "jigsaw", "--encoder", "alexnet", "--image-size", "64"],
        ["jigsaw", "alexnet"],
    ),
    "methods missing": (["--protocol", "knn"], ["--methods"]),
    "seeds that are not numbers": (["--methods", "random", "--seeds", "a"], ["--seeds", "0,1,2"]),
    "directory for data that need none": (
        ["--methods", "random", "--data-dir", "x"],
        ["--data-dir", "--dataset folder"],
    ),
    "no directory for a folder": (["--methods", "random", "--dataset", "folder"], ["--data-dir"]),
    "no such directory": (["--methods", "random", "--dataset", "folder", "--data-dir", "nowhere"], ["nowhere"]),
    "empty directory": ([*OWN_DATA, "{here}/empty"], ["empty", "no folders", "train/<class>/"]),
    "directory without a train split": ([*OWN_DATA, "{here}/untrained"], ["untrained", "no train split"]),
    "directory of one class": ([*OWN_DATA, "{here}/alike"], ["alike", "only one class (a)"]),
    "class that is only in test": ([*OWN_DATA, "{here}/strange"], ["strange", "'c'"]),
    "unreadable image": (
        [*OWN_DATA, "{here}/broken"],
        ["broken", "1 picture cannot be read", "train/a/0.png", "--skip-unreadable"],
    ),
    "unreadable large image": (
        [*OWN_DATA, "{here}/broken", "--image-size", "100"],
        ["1 picture cannot be read", "train/a/0.png", "--skip-unreadable"],
    ),
    "unreadable image to pretrain on": (
        [
            *("--methods", "random,rotnet", "--pretrain-dataset", "folder", "--pretrain-data-dir", "{here}/broken"),
            *("--image-size", "100", *QUICK_OPTIONS, "--set", "recipe.batch_size=2"),
        ],
        ["1 picture cannot be read", "train/a/0.png", "--skip-unreadable"],
    ),
    "fewer images than a batch": (
        ["--methods", "rotnet", *QUICK_OPTIONS, "--set", "recipe.batch_size=300"],
        ["200", "300"],
    ),
    "fewer images than neighbours": (
        ["--methods", "random", "--protocol", "knn", *QUICK_OPTIONS, "--set", "knn.k=500"],
        ["500", "200"],
    ),
    "more labels than images of a class": (
        ["--methods", "random", "--protocol", "fewlabels", *QUICK_OPTIONS, "--set", "fewlabels.labels=10,500"],
        ["fewlabels.labels = 500", "only 20", "fewlabels.labels=10 fits"],
    ),
    "no such way to learn": (
        ["--methods", "random", "--protocol", "fewlabels", "--set", "fewlabels.ways=frozen,thawed"],
        ["fewlabels.ways=frozen,thawed", "scratch"],
    ),
    "no such checkpoint": (["--methods", "rotnet", "--checkpoint", "rotnet=none.pt"], ["none.pt"]),
    "checkpoint of a method that does not run": (["--methods", "rotnet", "--checkpoint", "moco=x.pt"], ["moco"]),
    "truncated checkpoint": (
        ["--methods", "rotnet", "--checkpoint", "rotnet={here}/cut.safetensors"],
        ["cut.safetensors", "truncated"],
    ),
    "checkpoint with code in it": (
        ["--methods", "rotnet", "--checkpoint", "rotnet={here}/code.pt"],
        ["code.pt", "code"],
    ),
    "checkpoint without a method": (["--methods", "rotnet", "--checkpoint", "x.pt"], ["method=file"]),
    "no such plugin file": (["--methods", "rotnet", "--plugin", "none.py"], ["none.py"]),
    "no such device": (["--methods", "random", "--device", "tpu9"], ["tpu9", "--device cpu"]),
    "a device without values": (["--methods", "random", "--device", "meta"], ["--device meta", "--device cpu"]),
    "a device with a long explanation": (["--methods", "random", "--device", "mps"], ["--device mps", "--device cpu"]),
    "library without a network": (["--methods", "random", "--encoder", "timm/"], ["--encoder timm/", "timm/resnet18"]),
    "two encoders": (
        ["--methods", "random", "--encoder", "nin", "--encoder-from", "torchvision.models:resnet18"],
        ["--encoder nin", "--encoder-from torchvision.models:resnet18", "use one"],
    ),
    "own encoder without a function": (
        ["--methods", "random", "--encoder-from", "mynet"],
        ["mynet", "module:function"],
    ),
    "own encoder of no name": (["--methods", "random", "--encoder-from", ""], ["--encoder-from", "module:function"]),
    "own encoder without taps": (
        ["--methods", "random", "--encoder-from", "torchvision.models:resnet18"],
        ["--encoder-from torchvision.models:resnet18 has no tap 'conv4'", "--taps", "layer4", "more"],
    ),
    "image too small for the encoder": (["--methods", "random", "--encoder", "alexnet"], ["alexnet", "63"]),
}
if not torch.cuda.is_available():
    MISTAKES["no GPU"] = (["--methods", "random", "--device", "cuda"], ["--device cuda", "--device cpu"])


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets and checkpoints, each unusable in its own way."""
    root = tmp_path_factory.mktemp("bad")
    for name in ("untrained", "alike", "strange", "broken"):
        for split in ("train", "test"):
            for label in "ab":
                (root / name / split / label).mkdir(parents=True)
                for n in range(4):
                    colour = (60 * n, 99 * (split == "test"), 99 * (label == "b"))  # no picture is there twice
                    Image.new("RGB", (16, 16), colour).save(root / name / split / label / f"{n}.png")
    (root / "empty").mkdir()
    (root / "untrained" / "train").rename(root / "untrained" / "learn")
    for split in ("train", "test"):
        shutil.rmtree(root / "alike" / split / "b")
    (root / "strange" / "test" / "b").rename(root / "strange" / "test" / "c")
    image = root / "broken" / "train" / "a" / "0.png"
    image.write_bytes(image.read_bytes()[:40])
    (root / "cut.safetensors").write_bytes(
        next(store.pretrained_files.BUNDLE.glob("*.safetensors")).read_bytes()[:-100]
    )
    torch.save({"state_dict": Code()}, root / "code.pt")
    return root


@pytest.mark.parametrize(("words", "parts"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_before_any_work(
    words: list[str],
    parts: list[str],
    here: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mistake ends with exit code 2 and one line that names it and the remedy; no work is done."""
    monkeypatch.setattr(runner, "load_or_pretrain", None)
    words = [word.replace("{here}", str(here)) for word in words]
    assert main([*words, "--results", str(results)] if words != ["lst"] else words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


def test_unreadable_images_are_left_out_on_request(here: Path, results: Path) -> None:
    """With --skip-unreadable the run continues without them, and the card says how many images are left."""
    words = [*OWN_DATA, str(here / "broken"), "--protocol", "knn", "--set", "knn.k=2", "--results", str(results)]
    assert main([*words, "--skip-unreadable"]) == 0
    (record,), _ = records.read_all(results / "records")
    assert (record.card["train_images"], record.card["test_images"]) == (7, 8)
