"""Encoders and features from Python: the numbers are those that the harness measures with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sslbench
from sslbench.bench.api.request import make_request
from sslbench.bench.api.run import finish, plan_request
from sslbench.bench.checkpoints import store
from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.images.input_spec import InputSpec
from sslbench.bench.planning.plan import PlannedDatasets
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.run.encoder import load_or_pretrain


@pytest.fixture(scope="module")
def rotnet() -> sslbench.Encoder:
    """The bundled encoder, read from its file."""
    file = next(store.pretrained_files.BUNDLE.glob("synthetic-convnet-rotnet-*.safetensors"))
    return sslbench.encoder("rotnet", checkpoint=file, device="cpu", progress=False)


def test_an_encoder_is_frozen_and_names_its_taps(rotnet: sslbench.Encoder, tiny: Dataset) -> None:
    """The bundled weights are loaded; calling it gives the mean of the last tap."""
    assert rotnet.taps == ("conv1", "conv2", "conv3", "conv4", "conv5")
    assert list(rotnet.widths) == list(rotnet.taps)
    assert rotnet.input_size == 32
    assert not rotnet.training
    assert not any(parameter.requires_grad for parameter in rotnet.parameters())
    assert rotnet(tiny.test.images[:3]).shape == (3, rotnet.dim)
    read = sslbench.features(rotnet, tiny.test.images[:3], precision="fp32")
    torch.testing.assert_close(read, rotnet(tiny.test.images[:3]), rtol=1e-4, atol=1e-5)
    bundled = sslbench.encoder("rotnet", device="cpu", progress=False)
    assert torch.equal(bundled(tiny.test.images[:3]), rotnet(tiny.test.images[:3]))
    untrained = sslbench.encoder("random", device="cpu", progress=False)
    assert not torch.equal(untrained(tiny.test.images[:3]), rotnet(tiny.test.images[:3]))


@pytest.mark.parametrize(("tap", "pooling"), [("conv4", "mean"), ("conv5", "average"), ("conv5", "max")])
def test_features_are_those_of_the_harness(rotnet: sslbench.Encoder, tiny: Dataset, tap: str, pooling: str) -> None:
    """Bit for bit what protocols read, in batches of the same size, from every form of the same images."""
    representation = Representation(rotnet, tiny, f"test {tap} {pooling}", torch.device("cpu"))
    wanted = representation.test(sslbench.FeatureSpec(tap, pooling=pooling))  # type: ignore[arg-type]
    images = tiny.test.images[:]
    pictures = images.permute(0, 2, 3, 1)
    forms = (images, images.numpy(), pictures, pictures.numpy(), [Image.fromarray(one) for one in pictures.numpy()])
    for form in forms:
        assert torch.equal(sslbench.features(rotnet, form, tap=tap, pooling=pooling), wanted)  # type: ignore[arg-type]
    floats = images.double() / 255
    torch.testing.assert_close(sslbench.features(rotnet, floats, tap=tap, pooling=pooling), wanted)  # type: ignore[arg-type]
    whole, in_parts = (
        sslbench.features(rotnet, images, tap=tap, pooling=pooling, precision="fp32", batch_size=size)  # type: ignore[arg-type]
        for size in (20, 7)
    )
    torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-5)


def test_files_are_read_as_a_data_set_is(tmp_path: Path) -> None:
    """Pictures of other sizes are cropped and resized as the harness reads them for the same encoder."""
    for split, count in (("train", 2), ("test", 3)):
        for label in "ab":
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for n in range(count):
                noise = np.random.default_rng(n).integers(0, 256, (50, 70 + n, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{n}.png")
    data = {"dataset": "folder", "data_dir": tmp_path, "image_size": 40}
    encoder = sslbench.encoder("random", device="cpu", progress=False, **data)
    assert encoder.input_size == 40
    files = sorted((tmp_path / "test").rglob("*.png"))
    from sslbench.bench.data.folder import Folder

    dataset = Folder(data_dir=str(tmp_path), image_size=40).load(frozenset())
    wanted = sslbench.features(encoder, dataset.test.images[:])
    assert torch.equal(sslbench.features(encoder, files), wanted)
    assert torch.equal(sslbench.features(encoder, [str(file) for file in files]), wanted)
    assert torch.equal(sslbench.features(encoder, [Image.open(file) for file in files]), wanted)
    arrays = np.stack([np.asarray(Image.open(files[0])), np.asarray(Image.open(files[0]))])
    assert torch.equal(sslbench.features(encoder, arrays), wanted[[0, 0]])


def test_a_checkpoints_preprocessing_is_followed(tmp_path: Path) -> None:
    """Files are resized and cropped to the pixel as its input spec says, once; square tensors by the encoder itself."""
    spec = InputSpec(size=24, crop=0.75, resampling="bicubic")
    encoder = ConvNet(24, width=4).with_input_spec(spec)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    noise.save(tmp_path / "wide.png")
    # The shorter side becomes 24 / 0.75 = 32 pixels, the longer one 48, and the middle 24 of both are kept.
    by_hand = noise.resize((48, 32), Image.Resampling.BICUBIC).crop((12, 4, 36, 28))
    whole = ConvNet(24, width=4).with_input_spec(InputSpec(size=24, crop=1.0, resampling="bicubic"))
    whole.load_state_dict(encoder.state_dict())
    wanted = sslbench.features(whole, np.array(by_hand)[None])
    for form in ([tmp_path / "wide.png"], [noise], np.asarray(noise)[None]):
        assert torch.equal(sslbench.features(encoder, form), wanted)
    assert encoder.input_spec == spec
    square = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    read = sslbench.features(encoder, square, precision="fp32")
    torch.testing.assert_close(read, encoder.eval()(square), rtol=1e-4, atol=1e-5)


def test_files_are_read_as_for_an_external_network(tmp_path: Path) -> None:
    """A network of timm gets pictures from files as the harness gives them to it, at its own size and crop."""
    for split, count in (("train", 1), ("test", 2)):
        for label in "ab":
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for n in range(count):
                noise = np.random.default_rng(n).integers(0, 256, (200, 260 + n, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{n}.png")
    words = {"dataset": "folder", "data_dir": tmp_path, "settings": {"folder.crop_margin": 1}, "device": "cpu"}
    encoder = sslbench.encoder("timm/test_vit@random", progress=False, **words)  # type: ignore[arg-type]
    plan = plan_request(make_request({**words, "methods": "timm/test_vit@random"}))
    (job,) = plan.jobs
    assert job.decodes_files
    assert job.external.input_spec.crop < 1  # type: ignore[union-attr]
    datasets, cpu = PlannedDatasets(plan), torch.device("cpu")
    expected, _ = finish(load_or_pretrain(plan, job, datasets, cpu))
    representation = Representation(expected, datasets.dataset_of(job), "test files", cpu)
    wanted = representation.test(sslbench.FeatureSpec(encoder.taps[-1], pooling="token+mean"))
    files = sorted((tmp_path / "test").rglob("*.png"))
    assert torch.equal(sslbench.features(encoder, files, pooling="token+mean"), wanted)


def test_no_images_give_no_features(rotnet: sslbench.Encoder) -> None:
    """An empty list has features (0, D)."""
    assert sslbench.features(rotnet, []).shape == (0, rotnet.dim)


WRONG_IMAGES = {
    "one image": (np.zeros((3, 32, 32), np.uint8), r"shape \(3, 32, 32\); it must be \(N, 3, H, W\)"),
    "four channels": (np.zeros((2, 4, 32, 32), np.uint8), "shape"),
    "integers": (np.zeros((2, 3, 32, 32), np.int64), "must be uint8, or floats from 0 to 1"),
    "floats of 0 to 255": (np.full((2, 3, 32, 32), 255.0), "must be uint8, or floats from 0 to 1"),
    "floats of another size": (np.zeros((2, 3, 40, 40)), "float images must be squares"),
    "no picture": ([ROOT / "README.md"], "README.md: cannot be read: not a picture"),
    "no file": (["nowhere.png"], "nowhere.png: cannot be opened"),
}


@pytest.mark.parametrize(("images", "message"), WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_wrong_images_are_a_mistake_of_one_line(rotnet: sslbench.Encoder, images: object, message: str) -> None:
    """The error names the images and what they should be."""
    with pytest.raises(sslbench.UserError, match=message):
        sslbench.features(rotnet, images)  # type: ignore[arg-type]


MISTAKES = {
    "no weights": (("rotnet",), {"settings": {"recipe.views": 512}}, "use pretrain=True"),
    "several": (("moco@published",), {}, r"'moco@published' names \d+ encoders"),
    "several in one text": (("rotnet,moco",), {}, "Did you mean"),
    "unknown": (("rotnot",), {}, "Did you mean 'rotnet'"),
    "no file": (("file/none.pt",), {}, "none.pt"),
    "no checkpoint": (("rotnet",), {"checkpoint": "none.pt"}, "none.pt does not exist"),
}


@pytest.mark.parametrize(("names", "options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_name_the_remedy(names: tuple[str], options: dict[str, object], message: str) -> None:
    """Nothing is pretrained unless it was asked for."""
    with pytest.raises(sslbench.UserError, match=message):
        sslbench.encoder(*names, device="cpu", **options)  # type: ignore[arg-type]


def test_taps_and_poolings_are_checked(rotnet: sslbench.Encoder, tiny: Dataset) -> None:
    """A tap that the encoder lacks, and a class token that a convolutional network cannot have."""
    with pytest.raises(sslbench.UserError, match="the encoder has no tap 'conv6'"):
        sslbench.features(rotnet, tiny.test.images[:2], tap="conv6")
    with pytest.raises(sslbench.UserError, match="no class token at conv5"):
        sslbench.features(rotnet, tiny.test.images[:2], pooling="token")
    with pytest.raises(sslbench.UserError, match="batch_size = 0"):
        sslbench.features(rotnet, tiny.test.images[:2], batch_size=0)


def test_an_encoder_can_be_pretrained_on_demand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With ``pretrain=True`` weights that are missing are made, and the next call finds them in the cache."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    settings = {"synthetic.train": 32, "synthetic.test": 10, "recipe.views": 32, "recipe.batch_size": 8}
    words = {"settings": settings | {"convnet.width": 4}, "device": "cpu", "progress": False}
    made = sslbench.encoder("rotnet", pretrain=True, **words)
    found = sslbench.encoder("rotnet", **words)
    assert all(torch.equal(one, other) for one, other in zip(made.parameters(), found.parameters(), strict=True))
