"""Tests of folders that are not divided into train and test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import save_grey_picture


@pytest.fixture
def plants(tmp_path: Path) -> Path:
    """Two classes with 40 different pictures each."""
    for k in range(80):
        save_grey_picture(tmp_path / "plants" / ("fern", "moss")[k % 2] / f"{k}.png", k)
    return tmp_path / "plants"


def divided(root: Path, test_share: float = 0.25) -> dict[int, bool]:
    """The grey of each picture, and whether it is in test."""
    data = Folder(data_dir=str(root), test_share=test_share).load(frozenset())
    return {
        grey: split is data.test for split in (data.train, data.test) for grey in split.images[:][:, 0, 0, 0].tolist()
    }


def test_every_picture_is_in_one_split(plants: Path) -> None:
    """Both splits have pictures of each class in about the share that was asked for, with the right labels."""
    source = Folder(data_dir=str(plants), test_share=0.25)
    info, data = source.check(), source.load(frozenset())
    assert info.classes == ("fern", "moss")
    assert len(data.train) + len(data.test) == 80
    for split in (data.train, data.test):
        assert torch.equal(split.labels, split.images[:][:, 0, 0, 0].long() % 2)
    for label in (0, 1):
        assert 4 <= int((data.test.labels == label).sum()) <= 16  # of 40; 10 are expected
    assert source.provides == {"labels"}


def test_a_picture_stays_in_its_split(plants: Path) -> None:
    """New pictures, other names and a smaller share move no picture into test; a share of its own is an identity."""
    before = divided(plants)
    (plants / "fern/0.png").rename(plants / "fern/renamed.png")
    for k in range(80, 100):
        save_grey_picture(plants / "moss" / f"{k}.png", k)
    after = divided(plants)
    assert {grey: after[grey] for grey in before} == before
    assert {grey for grey, in_test in divided(plants, 0.1).items() if in_test} < {g for g, t in after.items() if t}
    identities = {Folder(data_dir=str(plants), test_share=share).check().identity for share in (0.1, 0.25)}
    assert len(identities) == 2


def test_copies_are_in_the_same_split(plants: Path) -> None:
    """A test picture that is also in train would say nothing about new pictures."""
    for path in sorted((plants / "fern").iterdir()):
        shutil.copy(path, path.with_name(f"copy {path.name}"))
    data = Folder(data_dir=str(plants), test_share=0.25).load(frozenset())
    train, test = (set(split.images[:][:, 0, 0, 0].tolist()) for split in (data.train, data.test))
    assert len(data.train) + len(data.test) == 120
    assert not train & test


def test_pictures_without_classes_are_divided_if_a_label_file_describes_them(plants: Path) -> None:
    """Numbers and labels are there, labels of classes are not; the error without the file says what is missing."""
    flat = plants.parent / "flat"
    flat.mkdir()
    for path in plants.glob("*/*.png"):
        shutil.copy(path, flat)
    with pytest.raises(UserError, match=r"fewer than two class folders, and no labels\.csv, masks/ or depth/"):
        Folder(data_dir=str(flat), test_share=0.25).check()
    lines = [f"{k}.png,{k / 2},{k % 2}" for k in range(80)]
    (flat / "labels.csv").write_text("\n".join(["path,half,odd", *lines]))
    source = Folder(data_dir=str(flat), test_share=0.25)
    assert source.provides == {"values", "multi_labels"}
    assert (source.check().classes, source.check().per_class) == ((), None)
    data = source.load(source.provides)
    for split in (data.train, data.test):
        greys = split.images[:][:, 0, 0, 0]
        assert split.values is not None
        assert split.multi_labels is not None
        assert torch.equal(split.values[:, 0], greys / 2)
        assert torch.equal(split.multi_labels[:, 0], greys % 2 == 1)


def test_masks_are_no_class(plants: Path) -> None:
    """The folder of masks is found although it stands among those of the classes, also inside another folder."""
    for path in plants.glob("*/*.png"):
        save_grey_picture(plants / "masks" / path.relative_to(plants), int(path.stem) % 3)
    outer = plants.parent / "outer"
    outer.mkdir()
    plants.rename(outer / "plants")
    data = Folder(data_dir=str(outer), test_share=0.25).load(frozenset({"masks"}))
    assert data.classes == ("fern", "moss")
    assert data.mask_classes == ("0", "1", "2")
    assert data.test.masks is not None
    assert torch.equal(data.test.masks, data.test.images[:][:, 0] % 3)


def test_the_setting_is_named_where_it_helps(plants: Path) -> None:
    """Without it, the error says so; a split that is there already, and too few pictures, are errors with it."""
    with pytest.raises(UserError, match=r"no train split, only fern, moss.*--set folder\.test_share=0\.2 divides"):
        Folder(data_dir=str(plants)).check()
    with pytest.raises(UserError, match=r"folder\.test_share = 0\.001: test is left without a picture"):
        Folder(data_dir=str(plants), test_share=0.001).check()
    with pytest.raises(UserError, match=r"class 'moss' is left without a picture in train"):
        Folder(data_dir=str(plants), test_share=0.999).check()
    save_grey_picture(plants / "Train" / "0.png")
    with pytest.raises(UserError, match=r"plants/Train looks like a split already"):
        Folder(data_dir=str(plants), test_share=0.2).check()
    with pytest.raises(UserError, match=r"folder\.test_share|test_share = 1"):
        Folder(data_dir=str(plants), test_share=1.0)
