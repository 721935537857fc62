"""Tests of a folder's further targets: equal to what was saved, cropped like the pictures, and their errors."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sslbench.bench.data import Dataset
from sslbench.bench.data.folder import Folder
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.errors import UserError
from sslbench.bench.images.input_spec import InputSpec
from sslbench.bench.planning.limit import limited_dataset

TARGETS = frozenset({"multi_labels", "values", "masks", "depth"})


def save(path: Path, pixels: NDArray[Any], *, has_palette: bool = False) -> None:
    """Saves an array as a picture, or as numbers if the path ends in .npy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        image = Image.fromarray(pixels)
        if has_palette:
            image.putpalette(bytes(range(256)) * 3)
        image.save(path)


def save_dataset(data: Dataset, root: Path) -> None:
    """Saves a data set with all targets as a folder."""
    rows = [["path", *data.label_names, *data.value_names]]
    for name, split in (("train", data.train), ("test", data.test)):
        assert split.masks is not None
        assert split.depth is not None
        assert split.multi_labels is not None
        assert split.values is not None
        for i, image in enumerate(split.images[:].permute(0, 2, 3, 1).numpy()):
            path = f"{name}/{data.classes[split.labels[i]]}/{i:03}.png"
            save(root / path, image)
            save(root / "masks" / path, split.masks[i].numpy(), has_palette=bool(i % 2))
            save((root / "depth" / path).with_suffix(".npy"), split.depth[i].numpy())
            rows.append([path, *map(str, split.multi_labels[i].int().tolist()), *map(str, split.values[i].tolist())])
    (root / "masks" / "classes.txt").write_text("\n".join(data.mask_classes))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A small synthetic data set and a folder with its content."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = Synthetic(image_size=16, train=30, test=20).load(TARGETS)
    root = tmp_path_factory.mktemp("rendered")
    save_dataset(data, root)
    return data, root


def by_class(data: Dataset, split: str) -> torch.Tensor:
    """The order in which a folder lists the images of a split."""
    names = [data.classes[label] for label in getattr(data, split).labels.tolist()]
    return torch.tensor(sorted(range(len(names)), key=lambda i: (names[i], i)))


def test_targets_are_those_that_were_saved(rendered: tuple[Dataset, Path]) -> None:
    """All targets of both splits are equal to those of the data set that was saved, with their names."""
    data, root = rendered
    source = Folder(data_dir=str(root))
    assert source.provides == TARGETS | {"labels"}
    found = source.load(TARGETS)
    assert found.mask_classes == data.mask_classes
    assert found.label_names == data.label_names
    assert found.value_names == data.value_names
    for split in ("train", "test"):
        order, saved, loaded = by_class(data, split), getattr(data, split), getattr(found, split)
        assert torch.equal(loaded.images[:], saved.images[:][order])
        for target in TARGETS:
            assert torch.equal(getattr(loaded, target), getattr(saved, target)[order])
            assert getattr(loaded, target).dtype == getattr(saved, target).dtype


def test_only_what_is_needed_is_loaded(rendered: tuple[Dataset, Path], cache: Path) -> None:
    """Without needs there are no targets, and with a limit they are those of the images that are left."""
    source = Folder(data_dir=str(rendered[1]))
    plain, full = source.load(frozenset()), source.load(TARGETS)
    assert all(getattr(plain.train, target) is None for target in TARGETS)
    assert (plain.mask_classes, plain.label_names, plain.value_names) == ((), (), ())
    few = limited_dataset(full, 10)
    places = [int((full.train.images[:] == image).flatten(1).all(1).nonzero()) for image in few.train.images[:]]
    for target in TARGETS:
        assert torch.equal(getattr(few.train, target), getattr(full.train, target)[places])


def test_targets_change_only_the_identity_of_who_needs_them(rendered: tuple[Dataset, Path], tmp_path: Path) -> None:
    """Keys of classification do not depend on masks, and those of segmentation do not depend on labels."""
    data, _ = rendered
    save_dataset(data, tmp_path / "copy")
    before = Folder(data_dir=str(tmp_path / "copy"))
    digests, identity = before.target_identity(TARGETS), before.check().identity
    assert digests.keys() == TARGETS
    assert digests == Folder(data_dir=str(rendered[1])).target_identity(TARGETS)
    assert before.target_identity(frozenset({"labels"})) == {}
    mask = min((tmp_path / "copy" / "masks").rglob("*.png"))
    save(mask, 1 - np.minimum(np.array(Image.open(mask)), 1))
    after = Folder(data_dir=str(tmp_path / "copy"))
    changed = after.target_identity(TARGETS)
    assert {target for target in TARGETS if changed[target] != digests[target]} == {"masks"}
    assert after.check().identity == identity
    assert Folder(data_dir=str(rendered[1]), labels="labels.csv").check().identity == identity


SPEC = InputSpec(size=8, crop=0.5)  # of a shorter side of 16 pixels: the central 8, without resizing


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of wide and of sideways pictures, whose red is the mask's class and whose green is the depth."""
    root, rng = tmp_path / "scenes", np.random.default_rng(0)
    for i, (split, name) in enumerate((s, n) for s in ("train", "test") for n in ("a", "b")):
        for k in range(2):
            height, width = (16, 24) if k else (28, 16)
            red, green = rng.integers(0, 3, (height, width)), rng.integers(1, 65, (height, width))
            red[0, 0] = 255
            pixels = np.stack([red, green, np.full_like(red, 7 * i + k)], -1).astype(np.uint8)
            path = f"{split}/{name}/{k}.png"
            save(root / path, pixels)
            if k:  # stored on its side, to be shown upright
                exif = Image.Exif()
                exif[0x0112] = 6
                Image.fromarray(np.rot90(pixels, 1)).save(root / path, exif=exif)
            save(root / "masks" / path, red.astype(np.uint8))
            save(root / "depth" / path, (1000 * green).astype(np.uint16))
    return root


def test_masks_and_depth_are_cropped_like_the_pictures(scenes: Path) -> None:
    """In central squares, and as a published network expects, each pixel keeps its class and its depth."""
    source = Folder(data_dir=str(scenes), image_size=16, name="scenes")
    for data, side in ((source.load(TARGETS), 16), (source.load_for(SPEC, TARGETS), 8)):
        for split in (data.train, data.test):
            images = split.images[:]
            assert images.shape == (4, 3, side, side)
            assert split.masks is not None
            assert split.depth is not None
            assert torch.equal(split.masks, images[:, 0])
            assert torch.equal(split.depth, images[:, 1].float())
        assert data.mask_classes == ("0", "1", "2")


def test_masks_of_resized_pictures_keep_whole_classes(scenes: Path) -> None:
    """No class is made up between two others: each pixel has the class of the nearest one."""
    data = Folder(data_dir=str(scenes), image_size=9).load(frozenset({"masks"}))
    assert data.train.masks is not None
    assert set(data.train.masks.unique().tolist()) <= {0, 1, 2, 255}
    upright = np.array(Image.open(scenes / "masks/train/a/0.png"))
    rows = 6 + (np.arange(9) + 0.5) * 16 / 9  # of the central square
    columns = (np.arange(9) + 0.5) * 16 / 9
    assert data.train.masks[0].tolist() == upright[rows.astype(int)][:, columns.astype(int)].tolist()


def test_targets_skip_the_pictures_that_are_skipped(scenes: Path) -> None:
    """A broken picture is left out with its targets, in decoded and in lazily read sets."""
    whole = Folder(data_dir=str(scenes), image_size=16).load(TARGETS).train
    (scenes / "train/a/1.png").write_bytes((scenes / "train/a/1.png").read_bytes()[:60])
    source = Folder(data_dir=str(scenes), image_size=16, skip_unreadable=True)
    for split in (source.load(TARGETS).train, source.load_for(replace(SPEC, size=16, crop=1.0), TARGETS).train):
        assert len(split) == 3
        for target in ("masks", "depth"):
            assert torch.equal(getattr(split, target), getattr(whole, target)[[0, 2, 3]])


def write_labels(root: Path, header: str, cells: Callable[[int], str]) -> None:
    """Writes a label file with a line for each picture."""
    pictures = sorted(path.relative_to(root).as_posix() for path in root.glob("t*/*/*.png"))
    lines = [f"{path},{cells(i)}" for i, path in enumerate(pictures)]
    (root / "labels.csv").write_text("\n".join([f"path,{header}", *lines]))


WRONG_TARGETS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no mask": (
        lambda root: (root / "masks/test/b/1.png").unlink(),
        r"test/b/1\.png: there is no masks/test/b/1\.png in .*scenes\. Every picture needs one",
    ),
    "no depth": (
        lambda root: (root / "depth/test/b/1.png").unlink(),
        r"there is no depth/test/b/1\.png or depth/test/b/1\.npy in",
    ),
    "another size": (
        lambda root: save(root / "masks/test/a/0.png", np.ones((16, 28), np.uint8)),
        r"masks/test/a/0\.png: 28 x 16 pixels, but its picture .* has 16 x 28\.",
    ),
    "unknown class": (
        lambda root: (root / "masks/classes.txt").write_text("sky\nsea\n"),
        r"masks/\S+\.png: holds 2, but classes\.txt names the classes 0 to 1 \(255 is unknown\)",
    ),
    "one class": (lambda root: (root / "masks/classes.txt").write_text("sky\n"), r"classes\.txt: 1 names"),
    "equal classes": (lambda root: (root / "masks/classes.txt").write_text("a\nb\na\n"), r"classes\.txt: 3 names"),
    "colours": (
        lambda root: save(root / "masks/test/a/0.png", np.eye(3, dtype=np.uint8)[None]),
        r"masks/test/a/0\.png: cannot be used \(colours instead",
    ),
    "damaged": (
        lambda root: (root / "masks/test/a/0.png").write_bytes(b"no"),
        r"masks/test/a/0\.png: cannot be used \(not a picture\)",
    ),
    "masks of black and white": (
        lambda root: [
            save(path, np.where(np.array(Image.open(path)) == 1, 255, 0).astype(np.uint8))
            for path in (root / "masks").rglob("*.png")
        ],
        r"masks: every pixel is of class 0 or unknown \(255\)",
    ),
    "depth of 8 bits": (
        lambda root: save(root / "depth/test/a/0.png", np.ones((28, 16), np.uint8)),
        r"depth/test/a/0\.png: cannot be used \(8 bits instead of 16-bit greys",
    ),
    "depth of 0": (
        lambda root: save(root / "depth/test/a/0.png", np.zeros((28, 16), np.uint16)),
        r"depth/test/a/0\.png: cannot be used \(some depths are 0, negative",
    ),
    "depth of NaN": (
        lambda root: (
            (root / "depth/test/a/0.png").unlink(),
            save(root / "depth/test/a/0.npy", np.full((28, 16), np.nan)),
        ),
        r"depth/test/a/0\.npy: cannot be used \(some depths are 0, negative, infinite or not a number",
    ),
    "depth of integers": (
        lambda root: (
            (root / "depth/test/a/0.png").unlink(),
            save(root / "depth/test/a/0.npy", np.ones((28, 16), np.int32)),
        ),
        r"depth/test/a/0\.npy: cannot be used \(shape \(28, 16\) of int32 instead of floats",
    ),
    "constant depth": (
        lambda root: [
            save(path, np.full_like(np.array(Image.open(path)), 1500)) for path in (root / "depth").rglob("*.png")
        ],
        r"depth: every depth is 1\.5 metres",
    ),
    "constant number": (
        lambda root: write_labels(root, "age", lambda i: str(i if i > 3 else 2)),
        r"labels\.csv: 'age' is 2 for all 4 test pictures, so it cannot be predicted",
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG_TARGETS.values(), ids=WRONG_TARGETS.keys())
def test_a_wrong_target_is_reported_in_one_line(scenes: Path, change: Callable[[Path], Any], words: str) -> None:
    """The message names the file, what is wrong and what helps; who does not need targets is not disturbed."""
    change(scenes)
    source = Folder(data_dir=str(scenes), image_size=16)
    with pytest.raises(UserError, match=words) as error:
        source.load(TARGETS)
    assert "\n" not in str(error.value)
    assert len(source.load(frozenset()).train) == 4


def test_a_label_file_that_is_not_there_is_reported(scenes: Path) -> None:
    """The message names the setting and the path."""
    with pytest.raises(UserError, match=r"folder\.labels = mine\.csv: there is no file .*scenes/mine\.csv"):
        Folder(data_dir=str(scenes), labels="mine.csv").check()
