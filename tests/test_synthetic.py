"""The rendered data set: the same each time, balanced, without an up of its own, and kept safely."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.data._arrays import kept
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.errors import UserError

EVERYTHING = Synthetic.provides


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    return tmp_path


def small(
    *, image_size: int = 32, train: int = 100, test: int = 20, seed: int = 0, needs: frozenset[str] = frozenset()
) -> Dataset:
    return Synthetic(image_size=image_size, train=train, test=test, seed=seed).load(needs)


def drop(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def test_two_renders_are_equal(cache: Path) -> None:
    """Whatever is asked for comes out the same when it is rendered again from nothing."""
    once = small(needs=EVERYTHING)
    drop(cache)
    again = small(needs=EVERYTHING)
    for a, b in ((once.train, again.train), (once.test, again.test)):
        assert torch.equal(a.images[:], b.images[:])
        assert torch.equal(a.labels, b.labels)
        for what in ("clips", "masks", "depth"):
            assert torch.equal(getattr(a, what), getattr(b, what))
        assert a.captions == b.captions


def test_images_do_not_depend_on_what_else_is_needed(cache: Path) -> None:
    """Asking for depth or clips leaves the images and labels as they were."""
    plain = small().train
    drop(cache)
    rich = small(needs=EVERYTHING).train
    assert torch.equal(plain.images[:], rich.images[:])
    assert plain.clips is None
    assert plain.masks is None
    assert plain.depth is None
    assert plain.captions is None


def test_another_seed_draws_other_images() -> None:
    """Seeds differ in pictures and in identity."""
    assert not torch.equal(small(seed=0).train.images[:], small(seed=1).train.images[:])
    assert Synthetic(seed=0).check().identity != Synthetic(seed=1).check().identity


def test_second_load_reads_the_cache(cache: Path) -> None:
    """A reload returns equal images without writing a file anew."""
    first = small().train.images[:].clone()
    written = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert torch.equal(small().train.images[:], first)
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == written


@pytest.mark.parametrize("damage", ["flipped", "shortened", "emptied"])
def test_damaged_cache_file_is_rendered_again(cache: Path, damage: str) -> None:
    """One wrong byte, a missing end and an empty file are all noticed."""
    first = small().train.images[:].clone()
    (file,) = cache.glob("*-train-stills-images.npy")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"flipped": content, "shortened": content[:-1000], "emptied": bytearray()}[damage])
    assert torch.equal(small().train.images[:], first)


def test_writing_to_the_images_leaves_the_cache_alone() -> None:
    """Images are a copy-on-write map of the file."""
    first = small().train.images[:].clone()
    small().train.images[:].zero_()
    assert torch.equal(small().train.images[:], first)


def test_two_runs_at_once_agree(cache: Path) -> None:
    """Two that render the same file at the same time both succeed and leave one whole file."""
    together = Barrier(2)

    def fill(out: NDArray[Any]) -> None:
        out[:5] = 7
        together.wait(10)
        out[5:] = 7

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(kept, cache / "x.npy", (10,), np.dtype(np.uint8), fill) for _ in range(2)]
    assert [run.result().tolist() for run in runs] == [[7] * 10] * 2
    assert [file.name for file in cache.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("n", [10, 200, 207])
def test_classes_are_balanced(n: int) -> None:
    """Every class is there, and no class has two images more than another."""
    counts = small(train=n).train.labels.bincount(minlength=10)
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1


def test_train_and_test_share_no_image() -> None:
    """The splits are drawn from streams of their own."""
    data = small(train=200, test=200)
    seen = {image.numpy().tobytes() for image in data.train.images[:]}
    assert len(seen) == 200
    assert not seen & {image.numpy().tobytes() for image in data.test.images[:]}


@pytest.mark.parametrize("size", [16, 32, 50])
def test_shapes(size: int) -> None:
    """Everything has the contract's shape and type at any size."""
    train = small(image_size=size, train=30, needs=EVERYTHING).train
    assert train.images[:].shape == (30, 3, size, size)
    assert train.images[:].dtype == torch.uint8
    assert train.labels.shape == (30,)
    assert train.labels.dtype == torch.int64
    assert train.clips is not None
    assert train.clips.shape == (3, 8, 3, size, size)
    assert train.clips.dtype == torch.uint8
    assert train.masks is not None
    assert train.masks.shape == (3, 8, size, size)
    assert train.masks.dtype == torch.uint8
    assert train.depth is not None
    assert train.depth.shape == (30, size, size)
    assert train.depth.dtype == torch.float32
    assert train.captions is not None
    assert len(train.captions) == 30


def borders(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) -> mean colours (4, 3) of the upper, lower, left and right edges."""
    x = images.float().mean(0)
    return torch.stack(
        [x[:, :2].mean((1, 2)), x[:, -2:].mean((1, 2)), x[..., :2].mean((1, 2)), x[..., -2:].mean((1, 2))]
    )


def test_background_has_no_up() -> None:
    """Averaged over many pictures, all four edges look alike: nothing there tells a turn."""
    edges = borders(small(train=1500).train.images[:])
    assert (edges - edges.mean(0)).abs().max() < 10


def test_horizon_plants_an_up() -> None:
    """With a horizon the upper edge is sky and the lower one is not."""
    above, below, _, _ = borders(Synthetic(train=300, test=10, horizon=True).load(frozenset()).train.images[:])
    assert above[2] - below[2] > 60


def test_masks_mark_what_moves() -> None:
    """Pixels in a mask change more from frame to frame than those of the background, and masks move."""
    train = small(train=200, needs=frozenset({"clips", "masks"})).train
    assert train.clips is not None
    assert train.masks is not None
    change = train.clips.float().diff(dim=1).abs().mean(2)
    touched = (train.masks[:, 1:] > 0) | (train.masks[:, :-1] > 0)
    assert change[touched].mean() > 2 * change[~touched].mean()
    assert set(train.masks.unique().tolist()) == {0, 1, 2, 3, 4}
    moved = (train.masks[:, 0] == 1) != (train.masks[:, -1] == 1)
    assert (moved.flatten(1).sum(1) > 0).all()


def test_things_stand_before_the_background() -> None:
    """Depth is positive and finite, and the middle of the picture, where objects are, is nearer than its corners."""
    depth = small(needs=frozenset({"depth"})).train.depth
    assert depth is not None
    assert depth.isfinite().all()
    assert (depth > 0).all()
    assert depth[:, 14:18, 14:18].mean() < depth[:, 0, 0].mean() - 2
    assert (depth.flatten(1).amin(1) < depth.flatten(1).amax(1) - 1).all()


def test_captions_name_the_class() -> None:
    """Each sentence begins with an article and names what the label says."""
    data = small(needs=frozenset({"captions"}))
    assert data.train.captions is not None
    for caption, label in zip(data.train.captions, data.train.labels.tolist(), strict=True):
        assert data.classes[label] in caption.split()
        assert caption.startswith(("a ", "an "))


@pytest.mark.parametrize("wrong", [{"image_size": 15}, {"train": 9}, {"test": 0}, {"seed": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, int]) -> None:
    """The error names the setting."""
    with pytest.raises(UserError, match=next(iter(wrong))):
        Synthetic(**wrong).check()  # type: ignore[arg-type]


def test_check_needs_no_torch() -> None:
    """Planning a run must stay quick."""
    script = (
        "import sys; from sslbench.bench.data.synthetic import Synthetic\n"
        "Synthetic().check(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
