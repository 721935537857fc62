"""Tests of the rendered data set: deterministic, balanced, cached, and upright only in its objects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.errors import UserError

EVERYTHING = Synthetic.provides


def render_small(
    *, image_size: int = 32, train: int = 100, test: int = 20, seed: int = 0, needs: frozenset[str] = frozenset()
) -> Dataset:
    """Loads a small synthetic data set."""
    return Synthetic(image_size=image_size, train=train, test=test, seed=seed).load(needs)


def delete_files(folder: Path) -> None:
    """Deletes all files of a folder."""
    for file in folder.iterdir():
        file.unlink()


def test_two_renders_are_equal(cache: Path) -> None:
    """Everything is equal when it is rendered again without the cache."""
    once = render_small(needs=EVERYTHING)
    delete_files(cache)
    again = render_small(needs=EVERYTHING)
    for a, b in ((once.train, again.train), (once.test, again.test)):
        assert torch.equal(a.images[:], b.images[:])
        assert torch.equal(a.labels, b.labels)
        for what in ("clips", "clip_masks", "masks", "depth", "multi_labels", "values"):
            assert torch.equal(getattr(a, what), getattr(b, what))
        assert a.captions == b.captions


def test_images_do_not_depend_on_other_needs(cache: Path) -> None:
    """Requesting depth or clips does not change images and labels."""
    plain = render_small().train
    delete_files(cache)
    rich = render_small(needs=EVERYTHING).train
    assert torch.equal(plain.images[:], rich.images[:])
    assert plain.clips is None
    assert plain.clip_masks is None
    assert plain.depth is None
    assert plain.captions is None


def test_another_seed_gives_other_images() -> None:
    """Seeds differ in images and in identity."""
    assert not torch.equal(render_small(seed=0).train.images[:], render_small(seed=1).train.images[:])
    assert Synthetic(seed=0).check().identity != Synthetic(seed=1).check().identity


def test_second_load_reads_the_cache(cache: Path) -> None:
    """A second load returns equal images without writing a file."""
    first = render_small().train.images[:].clone()
    times = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert torch.equal(render_small().train.images[:], first)
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == times


@pytest.mark.parametrize("damage", ["flipped", "shortened", "emptied"])
def test_damaged_cache_file_is_rendered_again(cache: Path, damage: str) -> None:
    """One wrong byte, a missing end and an empty file are all detected."""
    first = render_small().train.images[:].clone()
    (file,) = cache.glob("*-train-stills-images.npy")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"flipped": content, "shortened": content[:-1000], "emptied": bytearray()}[damage])
    assert torch.equal(render_small().train.images[:], first)


def test_writing_to_the_images_does_not_change_the_cache() -> None:
    """Images are a copy-on-write map of the file."""
    first = render_small().train.images[:].clone()
    render_small().train.images[:].zero_()
    assert torch.equal(render_small().train.images[:], first)


@pytest.mark.parametrize("n", [10, 200, 207])
def test_classes_are_balanced(n: int) -> None:
    """Every class exists, and class sizes differ by at most one image."""
    counts = render_small(train=n).train.labels.bincount(minlength=10)
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1


def test_train_and_test_share_no_image() -> None:
    """The splits have separate random streams."""
    data = render_small(train=200, test=200)
    train_images = {image.numpy().tobytes() for image in data.train.images[:]}
    assert len(train_images) == 200
    assert not train_images & {image.numpy().tobytes() for image in data.test.images[:]}


@pytest.mark.parametrize("size", [16, 32, 50])
def test_shapes(size: int) -> None:
    """All targets have the declared shape and type at any size."""
    train = render_small(image_size=size, train=30, needs=EVERYTHING).train
    assert train.images[:].shape == (30, 3, size, size)
    assert train.images[:].dtype == torch.uint8
    assert train.labels.shape == (30,)
    assert train.labels.dtype == torch.int64
    assert train.clips is not None
    assert train.clips.shape == (3, 8, 3, size, size)
    assert train.clips.dtype == torch.uint8
    assert train.clip_masks is not None
    assert train.clip_masks.shape == (3, 8, size, size)
    assert train.clip_masks.dtype == torch.uint8
    assert train.masks is not None
    assert train.masks.shape == (30, size, size)
    assert train.masks.dtype == torch.uint8
    assert train.multi_labels is not None
    assert train.multi_labels.shape == (30, 8)
    assert train.multi_labels.dtype == torch.bool
    assert train.values is not None
    assert train.values.shape == (30, 4)
    assert train.values.dtype == torch.float32
    assert train.depth is not None
    assert train.depth.shape == (30, size, size)
    assert train.depth.dtype == torch.float32
    assert train.captions is not None
    assert len(train.captions) == 30


def edge_colours(images: Tensor) -> Tensor:
    """Images (N, 3, S, S) -> mean colours (4, 3) of the upper, lower, left and right edges."""
    x = images.float().mean(0)
    return torch.stack(
        [x[:, :2].mean((1, 2)), x[:, -2:].mean((1, 2)), x[..., :2].mean((1, 2)), x[..., -2:].mean((1, 2))]
    )


def test_the_background_has_no_direction() -> None:
    """Averaged over many images, all four edges have the same colour."""
    edges = edge_colours(render_small(train=1500).train.images[:])
    assert (edges - edges.mean(0)).abs().max() < 10


def test_a_horizon_shows_which_way_is_up() -> None:
    """With a horizon the upper edge is sky and the lower one is not."""
    above, below, _, _ = edge_colours(Synthetic(train=300, test=10, horizon=True).load(frozenset()).train.images[:])
    assert above[2] - below[2] > 60


def test_masks_cover_moving_things() -> None:
    """Masked pixels change more between frames than the background, and masks move."""
    train = render_small(train=200, needs=frozenset({"clips", "clip_masks"})).train
    assert train.clips is not None
    assert train.clip_masks is not None
    difference = train.clips.float().diff(dim=1).abs().mean(2)
    masked = (train.clip_masks[:, 1:] > 0) | (train.clip_masks[:, :-1] > 0)
    assert difference[masked].mean() > 2 * difference[~masked].mean()
    assert set(train.clip_masks.unique().tolist()) == {0, 1, 2, 3, 4}
    changed = (train.clip_masks[:, 0] == 1) != (train.clip_masks[:, -1] == 1)
    assert (changed.flatten(1).sum(1) > 0).all()


def test_masks_show_the_class_of_each_pixel() -> None:
    """A mask holds the background, the image's own class and things around it, never another class."""
    data = render_small(train=100, needs=frozenset({"masks"}))
    assert data.train.masks is not None
    first_thing = 1 + len(data.classes)
    assert data.mask_classes[:first_thing] == ("background", *data.classes)
    assert data.mask_classes[first_thing:] == ("ball", "block", "wedge")
    for mask, label in zip(data.train.masks, data.train.labels.tolist(), strict=True):
        shown = set(mask.unique().tolist())
        assert {0, label + 1} <= shown <= {0, label + 1, *range(first_thing, first_thing + 3)}
    assert data.train.masks.unique().tolist() == list(range(first_thing + 3))


def test_labels_of_things_agree_with_masks() -> None:
    """What a mask shows is among the image's labels; what is not among them, no mask shows."""
    data = render_small(train=200, needs=frozenset({"masks", "multi_labels"}))
    masks, labels = data.train.masks, data.train.multi_labels
    assert masks is not None
    assert labels is not None
    for column, name in enumerate(data.label_names[:3]):
        seen = (masks == data.mask_classes.index(name)).flatten(1).any(1)
        assert not seen[~labels[:, column]].any()
        assert seen[labels[:, column]].float().mean() > 0.7  # the rest is behind the object or the bar
    chimney = labels[:, data.label_names.index("chimney")]
    assert set(data.train.labels[chimney].tolist()) == {data.classes.index("house")}


def test_values_say_where_the_object_is() -> None:
    """The centre of the object's pixels follows x and y, and their number follows the size."""
    data = render_small(train=400, needs=frozenset({"masks", "values"}))
    masks, values = data.train.masks, data.train.values
    assert masks is not None
    assert values is not None
    is_object = (masks > 0) & (masks <= len(data.classes))
    rows, columns = torch.meshgrid(torch.linspace(1, -1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    area = is_object.flatten(1).sum(1)
    for name, grid in (("x", columns), ("y", rows)):
        centres = (is_object * grid).flatten(1).sum(1) / area
        assert torch.corrcoef(torch.stack([centres, values[:, data.value_names.index(name)]]))[0, 1] > 0.8
    assert torch.corrcoef(torch.stack([area.sqrt(), values[:, data.value_names.index("size")]]))[0, 1] > 0.2
    turns = values[:, data.value_names.index("turn")]
    assert -15 <= turns.min() < -12
    assert 12 < turns.max() <= 15


def test_things_are_nearer_than_the_background() -> None:
    """Depth is positive and finite; the centre of the image, where objects are, is nearer than its corners."""
    depth = render_small(needs=frozenset({"depth"})).train.depth
    assert depth is not None
    assert depth.isfinite().all()
    assert (depth > 0).all()
    assert depth[:, 14:18, 14:18].mean() < depth[:, 0, 0].mean() - 2
    assert (depth.flatten(1).amin(1) < depth.flatten(1).amax(1) - 1).all()


def test_captions_name_the_class() -> None:
    """Each caption begins with an article and contains the class name."""
    data = render_small(needs=frozenset({"captions"}))
    assert data.train.captions is not None
    for caption, label in zip(data.train.captions, data.train.labels.tolist(), strict=True):
        assert data.classes[label] in caption.split()
        assert caption.startswith(("a ", "an "))


def test_noise_is_added_to_the_pictures_alone() -> None:
    """Pixels differ by the given deviation, clips too; labels, masks and depth stay the same."""
    needs = frozenset({"clips", "masks", "depth"})
    plain = Synthetic(train=60, test=10, seed=3).load(needs).train
    noisy = Synthetic(train=60, test=10, seed=3, noise=8).load(needs).train
    assert torch.equal(plain.labels, noisy.labels)
    for target in ("masks", "depth"):
        assert torch.equal(getattr(plain, target), getattr(noisy, target))
    for target in ("images", "clips"):
        before, after = getattr(plain, target)[:].float(), getattr(noisy, target)[:].float()
        unclipped = (before > 50) & (before < 205)  # six deviations from black and white
        difference = (after - before)[unclipped]
        assert abs(float(difference.std()) - 8) < 0.1
        assert abs(float(difference.mean())) < 0.1


def test_without_noise_the_identity_is_that_of_earlier_versions() -> None:
    """Records made before there was noise keep their keys; each amount of noise is another data set."""
    assert Synthetic().check().identity == Synthetic(noise=0).check().identity
    assert Synthetic().check().identity == "957e7d9fad8cf06ae8869ed1a095c543ba06a3d740f085f4a564a7a7c9148f9f"
    assert Synthetic(noise=60).check().identity == Synthetic(noise=60.0).check().identity
    assert len({Synthetic(noise=noise).check().identity for noise in (0, 1, 2)}) == 3


@pytest.mark.parametrize("wrong", [{"noise": -1}, {"image_size": 15}, {"train": 9}, {"test": 0}, {"seed": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, int]) -> None:
    """The error names the setting."""
    with pytest.raises(UserError, match=next(iter(wrong))):
        Synthetic(**wrong).check()  # type: ignore[arg-type]


def test_check_needs_no_torch() -> None:
    """Planning a run must stay fast."""
    script = (
        "import sys; from sslbench.bench.data.synthetic import Synthetic\n"
        "Synthetic().check(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
