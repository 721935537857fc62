"""Tests of the folder data set: wrong layouts and their errors, order, labels, identity and size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import changed_folder, empty_folder, invalid_zip, save_grey_picture

NO_NEEDS: frozenset[str] = frozenset()


def without_classes(split: str) -> Callable[[Path], str]:
    """Removes all class folders of a split."""
    return changed_folder(lambda root: [shutil.rmtree(folder) for folder in (root / split).iterdir()])  # type: ignore[func-returns-value]


def plain_file(root: Path) -> str:
    """A path to a file that is neither a directory nor an archive."""
    (root / "notes.txt").write_text("x")
    return str(root / "notes.txt")


def invalid_tar(root: Path) -> str:
    """A path to a file that is a tar archive only by its name."""
    (root / "bad.tar.xz").write_bytes(b"not a tar")
    return str(root / "bad.tar.xz")


WRONG_LAYOUTS: dict[str, tuple[Callable[[Path], str | None], list[str]]] = {
    "not given": (lambda root: None, ["--dataset folder", "--data-dir DIR", "train/<class>/"]),
    "missing": (lambda root: str(root / "absent"), ["absent", "no such", "--data-dir"]),
    "a file": (plain_file, ["notes.txt", "neither a directory nor", "--data-dir"]),
    "empty": (empty_folder, ["nothing", "empty", "train/<class>/"]),
    "not a zip": (invalid_zip, ["bad.zip", "cannot be unpacked", "Get it again"]),
    "not a tar": (invalid_tar, ["bad.tar.xz", "cannot be unpacked", "Get it again"]),
    "no train": (
        changed_folder(lambda r: (r / "train").rename(r / "learn")),
        ["no train split", "learn, test", "rename"],
    ),
    "no test": (
        changed_folder(lambda r: (r / "test").rename(r / "dev")),
        ["no test or val split", "dev, train", "Move some"],
    ),
    "one class": (
        changed_folder(lambda r: shutil.rmtree(r / "train" / "dog")),
        ["only one class (cat)", "two or more"],
    ),
    "no classes": (without_classes("train"), ["no class folders", "two"]),
    "flat test": (without_classes("test"), ["test: no class folders"]),
    "unknown class": (
        changed_folder(lambda r: (r / "test" / "dog").rename(r / "test" / "dogs")),
        ["'dogs'", "train", "Rename"],
    ),
    "empty class": (
        changed_folder(lambda r: (r / "train" / "ant").mkdir()),
        ["'ant'", "without pictures", "Fill or remove"],
    ),
}


@pytest.mark.parametrize(("make", "words"), WRONG_LAYOUTS.values(), ids=WRONG_LAYOUTS.keys())
def test_a_wrong_layout_is_reported_in_one_line(
    pets: Path, make: Callable[[Path], str | None], words: list[str], cache: Path
) -> None:
    """The message names the problem and the remedy, and no picture is decoded."""
    with pytest.raises(UserError) as error:
        Folder(data_dir=make(pets)).check()
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert not (cache / "pictures").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 4}, ["image_size = 4", "8 to 1024"]),
        ({"workers": 0}, ["workers = 0", "at least 1"]),
        ({"name": "a b"}, ["name = 'a b'", "letters"]),
    ],
)
def test_settings_out_of_range_are_refused(pets: Path, settings: dict[str, Any], words: list[str]) -> None:
    """The message names the setting, its value and its range."""
    with pytest.raises(UserError) as error:
        Folder(data_dir=str(pets), **settings).check()
    assert all(word in str(error.value) for word in words)


def test_a_forbidden_folder_is_named(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is simulated, because tests may run as root, who may read everything."""

    def scandir(where: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(where))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"pets: permission denied\. Make it readable .* --data-dir"):
        Folder(data_dir=str(pets)).check()


def test_pictures_are_ordered_and_labelled_by_class(pets: Path) -> None:
    """Pictures are ordered by class and path; labels are indices of the sorted classes."""
    source = Folder(data_dir=str(pets))
    info, data = source.check(), source.load(NO_NEEDS)
    assert (info.name, info.classes, info.image_size) == ("pets", ("cat", "dog"), 16)
    assert (info.train_images, info.test_images) == (6, 6)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.labels.dtype == torch.int64
    assert data.train.images[:].dtype == torch.uint8
    assert data.train.images[:].shape == (6, 3, 16, 16)
    assert data.train.images[:][:, 0, 0, 0].tolist() == [0, 1, 2, 60, 61, 62]
    assert data.test.images[torch.tensor([5, 0])][:, 0, 0, 0].tolist() == [182, 120]


def test_a_class_may_be_absent_from_test(pets: Path) -> None:
    """The test split may lack some of the train classes."""
    shutil.rmtree(pets / "test" / "cat")
    assert Folder(data_dir=str(pets)).load(NO_NEEDS).test.labels.tolist() == [1, 1, 1]


def test_val_is_the_test_split_if_there_is_no_test(pets: Path) -> None:
    """A folder test/ takes precedence over val/."""
    shutil.copytree(pets / "test", pets / "val")
    (pets / "val" / "cat" / "0.png").unlink()
    assert Folder(data_dir=str(pets)).check().test_images == 6
    shutil.rmtree(pets / "test")
    assert Folder(data_dir=str(pets)).check().test_images == 5


def test_hidden_and_other_files_are_not_pictures(pets: Path) -> None:
    """Pictures in subfolders count; hidden files, other files and linked folders do not."""
    for name in ("._0.png", "readme.md", "Thumbs.db"):
        (pets / "train" / "cat" / name).write_bytes(b"x")
    save_grey_picture(pets / "train" / "cat" / "more" / "3.PNG")
    (pets / "train" / "cat" / "round").symlink_to(pets / "train" / "cat", target_is_directory=True)
    assert Folder(data_dir=str(pets)).check().train_images == 7


def test_the_data_may_be_inside_another_folder(pets: Path, tmp_path: Path) -> None:
    """The name is still that of the given directory."""
    (tmp_path / "download").mkdir()
    pets.rename(tmp_path / "download" / "inner")
    assert Folder(data_dir=str(tmp_path / "download")).check().name == "download"


def test_the_identity_depends_only_on_the_content(pets: Path, tmp_path: Path) -> None:
    """A copy has the same identity; another picture, label, size or preparation has another one."""
    identity = Folder(data_dir=str(pets)).check().identity
    copy = tmp_path / "elsewhere"
    shutil.copytree(pets, copy, copy_function=shutil.copy)
    os.utime(copy / "train" / "cat" / "0.png", (1, 1))
    assert Folder(data_dir=str(copy), workers=7).check().identity == identity
    assert Folder(data_dir=str(copy), image_size=8).check().identity != identity
    save_grey_picture(copy / "train" / "cat" / "0.png", 200)
    assert Folder(data_dir=str(copy)).check().identity != identity
    shutil.copy(pets / "train" / "cat" / "0.png", copy / "train" / "cat" / "0.png")
    assert Folder(data_dir=str(copy)).check().identity == identity
    (copy / "train" / "cat" / "0.png").rename(copy / "train" / "dog" / "9.png")
    assert Folder(data_dir=str(copy)).check().identity != identity


def test_the_name_is_given_or_that_of_the_folder(pets: Path, tmp_path: Path) -> None:
    """Characters that are unsafe in file names are replaced."""
    assert Folder(data_dir=str(pets), name="mine-2").check().name == "mine-2"
    odd = pets.rename(tmp_path / "my pets (new)")
    assert Folder(data_dir=str(odd)).check().name == "my-pets-new"


def test_the_default_size_is_that_of_small_equal_pictures(pets: Path) -> None:
    """Pictures of several sizes, or larger than 96 pixels, are resized to 64."""
    assert Folder(data_dir=str(pets)).check().image_size == 16
    save_grey_picture(pets / "train" / "cat" / "0.png", size=(20, 20))
    assert Folder(data_dir=str(pets)).check().image_size == 64
    for path in pets.glob("t*/*/*.png"):
        save_grey_picture(path, size=(200, 200))
    assert Folder(data_dir=str(pets)).check().image_size == 64
    assert Folder(data_dir=str(pets), image_size=32).load(NO_NEEDS).train.images[:].shape == (6, 3, 32, 32)


def test_check_needs_no_torch(pets: Path) -> None:
    """Planning a run must stay fast."""
    code = f"""
import sys
from sslbench.bench.data.folder import Folder
from sslbench.bench.data.imagenet import ImageNet
from sslbench.bench.data.cifar10 import Cifar10
from sslbench.bench.data.stl10 import Stl10
Folder(data_dir={str(pets)!r}).check(); Cifar10().check(); Stl10().check()
assert not {{"torch", "torchvision"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
