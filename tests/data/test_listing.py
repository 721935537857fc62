"""Tests of what is listed in folders of pictures: links, endings, names in Unicode, and folders with other names."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import save_grey_picture

NO_NEEDS: frozenset[str] = frozenset()
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def check(root: Path, **settings: Any) -> tuple[int, int]:
    """The numbers of train and test pictures."""
    info = Folder(data_dir=str(root), **settings).check()
    return info.train_images, info.test_images


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif", "jp2", "pgm", "pbm", "pnm", "apng"])
def test_pictures_of_rarer_kinds_are_read(pets: Path, suffix: str) -> None:
    """They are not left out when other pictures are there."""
    mode = {"pgm": "L", "pnm": "L", "pbm": "1"}.get(suffix, "RGB")
    kind = {"jfif": "JPEG", "jpe": "JPEG", "avif": "AVIF", "jp2": "JPEG2000", "apng": "PNG"}.get(suffix, "PPM")
    Image.new(mode, (16, 16), "white").save(pets / "train" / "cat" / f"new.{suffix}", kind)
    data = Folder(data_dir=str(pets)).load(NO_NEEDS)
    assert len(data.train) == 7
    assert int(data.train.images[:].max()) >= 250


def test_files_that_are_not_read_are_named_and_counted(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By their endings, wherever they are in a split."""
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/c.nef", "dog.tar"):
        (pets / "train" / name).write_bytes(b"x")
    (pets / "train" / "dog" / "Thumbs.db").write_bytes(b"x")
    assert check(pets) == (6, 6)
    assert "are left out: 2 .heic, 1 .nef, 1 .tar. Convert pictures to PNG." in caplog.text


def test_pictures_outside_of_classes_are_named(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They have no label."""
    save_grey_picture(pets / "test" / "9.png")
    assert check(pets) == (6, 6)
    assert "picture 'test/9.png' is left out, because no class folder contains it" in caplog.text


def test_linked_folders_are_followed(pets: Path, tmp_path: Path) -> None:
    """At any depth."""
    save_grey_picture(tmp_path / "elsewhere" / "deep" / "9.png", 9)
    (pets / "train" / "cat" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert check(pets) == (7, 6)


@pytest.mark.parametrize("target", ["train/cat", "train", "."])
def test_a_link_back_is_named_and_left_out(pets: Path, target: str, caplog: pytest.LogCaptureFixture) -> None:
    """It would never end, and bring pictures of other classes."""
    (pets / "train" / "cat" / "round").symlink_to((pets / target).resolve(), target_is_directory=True)
    assert check(pets) == (6, 6)
    assert "linked folder 'cat/round' is left out, because the link leads back to itself" in caplog.text


def link_to_itself(path: Path) -> None:
    """A link that is its own target."""
    path.symlink_to(path.name)


def unlabelled(root: Path) -> None:
    """All pictures directly in the given folder."""
    for split in ("train", "test"):
        shutil.rmtree(root / split)
    save_grey_picture(root / "0.png")


def unlabelled_train(root: Path) -> None:
    """All train pictures directly in the split's folder."""
    for name in ("cat", "dog"):
        shutil.rmtree(root / "train" / name)
    save_grey_picture(root / "train" / "0.png")


def both_forms(root: Path) -> None:
    """Two class folders that look the same."""
    for name in (COMPOSED, DECOMPOSED):
        save_grey_picture(root / "train" / name / "0.png")


PROBLEMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a dead link": (lambda r: (r / "train/cat/9.png").symlink_to("gone"), r"'cat/9\.png'.*--skip-unreadable"),
    "a link to itself": (lambda r: link_to_itself(r / "train/cat/9.png"), r"'cat/9\.png'.*--skip-unreadable"),
    "a class to itself": (lambda r: link_to_itself(r / "train/ant"), r"train/ant: a link that leads nowhere\. Fix"),
    "a dead class": (lambda r: (r / "train/ant").symlink_to("gone"), r"train/ant: a link that leads nowhere\. Fix"),
    "no folders": (unlabelled, r"pets: 1 picture, but no folders in it.*train/<class>/"),
    "no classes": (unlabelled_train, r"train: no class folders, only 1 picture directly in it"),
    "names that look the same": (both_forms, r"look the same, 'café'.*Merge them, or rename one"),
    "an empty test class": (lambda r: [p.unlink() for p in (r / "test/cat").iterdir()], r"test: class folder 'cat' is"),
}


@pytest.mark.parametrize(("spoil", "message"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_problem_is_reported_in_one_line(pets: Path, spoil: Callable[[Path], Any], message: str) -> None:
    """With what is wrong and what to do."""
    spoil(pets)
    with pytest.raises(UserError, match=message) as error:
        check(pets)
    assert "\n" not in str(error.value)


def test_a_directory_that_links_to_itself_is_reported(tmp_path: Path) -> None:
    """Like one that does not exist."""
    link_to_itself(tmp_path / "loop")
    with pytest.raises(UserError, match=r"loop: no such file or directory\. Correct --data-dir"):
        check(tmp_path / "loop")


def test_dead_links_can_be_skipped(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Like pictures that cannot be read."""
    (pets / "train" / "cat" / "9.png").symlink_to("gone")
    assert check(pets, skip_unreadable=True) == (6, 6)
    assert "link 'cat/9.png' is left out" in caplog.text


@pytest.mark.parametrize(
    ("train", "test"),
    [("training", "testing"), ("train", "valid"), ("train", "validation"), ("Train", "Test"), ("train", "val")],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_other_names_of_the_splits_are_known(pets: Path, tmp_path: Path, train: str, test: str, wrapped: bool) -> None:
    """The identity does not depend on them."""
    identity = Folder(data_dir=str(pets)).check().identity
    (pets / "train").rename(pets / "x")
    (pets / "x").rename(pets / train)
    (pets / "test").rename(pets / test)
    if wrapped:
        (tmp_path / "download").mkdir()
        pets.rename(tmp_path / "download" / "inner")
    assert Folder(data_dir=str(tmp_path / "download" if wrapped else pets)).check().identity == identity


def test_a_test_folder_without_labels_gives_way_to_val(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Published test splits often have no labels."""
    (pets / "test").rename(pets / "val")
    save_grey_picture(pets / "test" / "0.png")
    (pets / "val" / "cat" / "0.png").unlink()
    assert check(pets) == (6, 5)
    assert "test/ has no labels, so val/ is the test split" in caplog.text


def test_composed_and_decomposed_names_are_one_class(pets: Path) -> None:
    """File systems differ in the form that they keep; the identity is the same."""
    (pets / "test" / "dog").rename(pets / "test" / COMPOSED)
    (pets / "train" / "dog").rename(pets / "train" / COMPOSED)
    composed = Folder(data_dir=str(pets)).check()
    (pets / "train" / COMPOSED).rename(pets / "train" / DECOMPOSED)
    info = Folder(data_dir=str(pets)).check()
    assert info == composed
    assert info.classes == (COMPOSED, "cat")
    assert Folder(data_dir=str(pets)).load(NO_NEEDS).test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_test_pictures_that_are_in_train_are_counted(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever their names and classes are."""
    shutil.copy(pets / "train" / "cat" / "0.png", pets / "test" / "dog" / "z.png")
    assert check(pets) == (6, 7)
    assert "1 of 7 test pictures are also in train, such as dog/z.png = cat/0.png" in caplog.text


def test_a_special_file_is_not_opened(pets: Path) -> None:
    """Reading a pipe would wait for ever."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes here")
    os.mkfifo(pets / "train" / "cat" / "pipe.png")
    assert check(pets) == (6, 6)
