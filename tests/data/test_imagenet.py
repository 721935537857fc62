"""Tests of the ImageNet data set: its layout, and pictures read on demand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sslbench.bench.data._pictures import LazyImages
from sslbench.bench.data.imagenet import ImageNet
from sslbench.bench.errors import UserError
from tests.builders import changed_folder


@pytest.fixture
def wordnet(pets: Path) -> Path:
    """The picture folder with WordNet numbers as class names."""
    (pets / "test").rename(pets / "val")
    for split in ("train", "val"):
        (pets / split / "cat").rename(pets / split / "n02123045")
        (pets / split / "dog").rename(pets / split / "n02084071")
    return pets


def test_pictures_are_read_on_demand_at_224_pixels(wordnet: Path) -> None:
    """A part of the classes has a name of its own."""
    source = ImageNet(data_dir=str(wordnet))
    assert (source.check().name, source.check().image_size) == ("imagenet2", 224)
    data = source.load(frozenset())
    assert isinstance(data.train.images, LazyImages)
    assert data.test.images[torch.tensor([0])].shape == (1, 3, 224, 224)
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, ["--dataset imagenet", "--data-dir DIR", "ILSVRC2012_img_train.tar", "image-net.org"]),
        (lambda root: str(root / "absent"), ["absent", "no such", "train/<wnid>/*.JPEG"]),
        (changed_folder(lambda root: shutil.rmtree(root / "val")), ["no val split", "ILSVRC2012_img_val.tar"]),
        (changed_folder(lambda root: shutil.rmtree(root / "train")), ["no train split", "ILSVRC2012_img_train.tar"]),
        (
            changed_folder(lambda root: [(root / s / "n02084071").rename(root / s / "dog") for s in ("train", "val")]),
            ["'dog'", "folder"],
        ),
    ],
    ids=["not given", "missing", "no val", "no train", "other names"],
)
def test_a_wrong_layout_is_reported(wordnet: Path, make: Callable[[Path], str | None], words: list[str]) -> None:
    """The message says which files are needed and where."""
    with pytest.raises(UserError) as error:
        ImageNet(data_dir=make(wordnet)).check()
    assert [word for word in words if word not in str(error.value)] == []


def test_every_byte_counts(wordnet: Path) -> None:
    """A change that keeps length and time gives another identity."""
    before = ImageNet(data_dir=str(wordnet)).check().identity
    path = next(wordnet.glob("val/*/*"))
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ImageNet(data_dir=str(wordnet)).check().identity != before
