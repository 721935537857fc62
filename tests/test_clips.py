"""Films as folders of frames: what is refused and how, where they are cut, and what a clip holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslbench.bench.data import clips
from sslbench.bench.data._frames import numbered, objects
from sslbench.bench.data.clips import Clips
from sslbench.bench.errors import UserError

IMAGES: frozenset[str] = frozenset()
FILMED = frozenset({"clips"})
MASKED = frozenset({"clips", "masks"})
FOLDERS = ("JPEGImages", "Annotations")
SHORT: dict[str, Any] = {"image_size": 8, "frames": 3, "stride": 2, "gap": 2}  # clips span 5 frames


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def save(path: Path, value: int, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


def save_mask(path: Path, number: int, size: tuple[int, int] = (24, 16)) -> None:
    """A palette picture, as DAVIS's are, whose left half of the central square is an object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.zeros(size[::-1], np.uint8)
    numbers[:, : size[0] // 2] = number
    mask = Image.fromarray(numbers, mode="P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    mask.save(path)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two sequences, of 16 and of 12 frames; a frame's grey says which it is, a mask's number which sequence."""
    root = tmp_path / "films"
    for number, (name, length) in enumerate((("ant", 16), ("bee", 12)), 1):
        for t in range(length):
            save(root / "JPEGImages" / name / f"{t:05}.png", 100 * (number - 1) + t)
            save_mask(root / "Annotations" / name / f"{t:05}.png", number)
    return root


def opened(root: Path | str, **settings: Any) -> Clips:
    return Clips(data_dir=str(root), **SHORT | settings)


def greys(images: torch.Tensor) -> list[Any]:
    """The grey of each frame (..., 3, S, S)."""
    return images[..., 0, 0, 0].tolist()


def edit(change: Callable[[Path], Any]) -> Callable[[Path], str]:
    def apply(root: Path) -> str:
        change(root)
        return str(root)

    return apply


def shorten(root: Path) -> list[None]:
    return [(root / folder / "bee" / "00000.png").unlink() for folder in FOLDERS]


def without(root: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(root / name)


def empty(root: Path) -> str:
    (root / "nothing").mkdir()
    return str(root / "nothing")


def no_archive(root: Path) -> str:
    (root / "bad.zip").write_bytes(b"not a zip")
    return str(root / "bad.zip")


WRONG: dict[str, tuple[Callable[[Path], str | None], list[str]]] = {
    "not given": (lambda root: None, ["--dataset clips", "--data-dir DIR", "JPEGImages/<sequence>/"]),
    "missing": (lambda root: str(root / "gone"), ["gone", "no such", "--data-dir"]),
    "empty": (empty, ["nothing", "empty", "JPEGImages/<sequence>/"]),
    "not a zip": (no_archive, ["bad.zip", "cannot be unpacked", "Get it again"]),
    "no frames' folder": (
        edit(lambda r: (r / "JPEGImages").rename(r / "frames")),
        ["no JPEGImages folder", "Annotations, frames", "correct --data-dir"],
    ),
    "no sequences": (edit(lambda r: without(r / "JPEGImages", "ant", "bee")), ["JPEGImages: no sequences", "two"]),
    "one sequence": (edit(lambda r: without(r / "JPEGImages", "bee")), ["only one sequence (ant)", "two or more"]),
    "no frames": (edit(lambda r: (r / "JPEGImages" / "cat").mkdir()), ["cat: no frames", "Fill or remove", ".jpg"]),
    "short": (
        edit(lambda r: [(r / f / "bee" / f"{t:05}.png").unlink() for f in FOLDERS for t in range(8)]),
        ["'bee' has 4 frames", "take 5", "clips.stride", "remove the sequence"],
    ),
    "all short": (
        edit(lambda r: [(r / f / "ant" / f"{t:05}.png").unlink() for f in FOLDERS for t in range(5)] + shorten(r)),
        ["no sequence has the 12 frames", "the longest, 'ant', has 11", "clips.gap"],
    ),
    "a mask too many": (
        edit(lambda r: save_mask(r / "Annotations" / "ant" / "00016.png", 1)),
        ["00016.png", "a mask without its frame", "Add the frame"],
    ),
    "a sequence of masks too many": (
        edit(lambda r: save_mask(r / "Annotations" / "cat" / "00000.png", 1)),
        ["Annotations: cat", "masks without frames", "Add the frames"],
    ),
    "a mask of another size": (
        edit(lambda r: save_mask(r / "Annotations" / "ant" / "00000.png", 1, (16, 16))),
        ["ant/00000.png: 16 x 16 pixels", "24 x 16", "one size"],
    ),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_in_one_line(
    films: Path, make: Callable[[Path], str | None], words: list[str], cache: Path
) -> None:
    """The sentence names the thing and the mend, and no frame was decoded."""
    with pytest.raises(UserError) as caught:
        Clips(data_dir=make(films), **SHORT).check()
    sentence = str(caught.value)
    assert [word for word in words if word not in sentence] == []
    assert "\n" not in sentence
    assert not (cache / "pictures").exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("image_size", 4), ("frames", 1), ("stride", 0), ("test", 0.0), ("test", 1.0), ("gap", -1), ("workers", 0)],
)
def test_settings_out_of_range_are_refused(films: Path, setting: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{setting} = {value}"):
        opened(films, **{setting: value}).check()


def test_a_name_must_fit_into_tables(films: Path) -> None:
    with pytest.raises(UserError, match=r"^name = 'a b'"):
        opened(films, name="a b").check()
    assert opened(films, name="two").check().name == "two"


def test_a_forbidden_folder_is_named(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised by hand, since tests may run as root, whom nothing is forbidden."""

    def scandir(where: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(where))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"films: permission denied\. Make it readable .* --data-dir"):
        opened(films).check()


def test_sequences_are_cut_in_time(films: Path) -> None:
    """The last frames of each are test, at least a clip long; the gap before them is in neither split."""
    source = opened(films)
    facts, data = source.check(), source.load(IMAGES)
    assert (facts.name, facts.classes, facts.image_size) == ("films", ("ant", "bee"), 8)
    assert greys(data.train.images[:]) == [*range(9), *range(100, 105)]
    assert greys(data.test.images[:]) == [*range(11, 16), *range(107, 112)]
    assert (facts.train_images, facts.test_images) == (14, 10)
    assert data.train.labels.tolist() == [0] * 9 + [1] * 5
    assert data.test.labels.tolist() == [0] * 5 + [1] * 5
    assert data.train.labels.dtype == torch.int64
    assert data.train.images[:].dtype == torch.uint8
    assert data.train.images[:].shape == (14, 3, 8, 8)
    assert data.train.clips is None
    assert data.train.masks is None
    assert greys(opened(films, test=0.4, gap=0).load(IMAGES).test.images[:]) == [*range(10, 16), *range(107, 112)]


def test_a_film_too_short_to_be_cut_is_train_alone(films: Path) -> None:
    """It has clips to learn from, and its class no test frames."""
    shorten(films)
    data = opened(films).load(MASKED)
    assert greys(data.train.images[:])[9:] == list(range(101, 112))
    assert greys(data.test.images[:]) == list(range(11, 16))
    assert data.test.labels.tolist() == [0] * 5
    assert data.classes == ("ant", "bee")
    assert data.train.clips is not None
    assert data.test.clips is not None
    assert data.test.masks is not None
    assert [clip[0] for clip in greys(data.train.clips)] == [*range(5), *range(101, 108)]
    assert len(data.test.clips) == len(data.test.masks) == 1


def test_clips_are_runs_of_one_part(films: Path) -> None:
    """From every frame of a part, ``frames`` frames ``stride`` apart, none across the end of the part."""
    data = opened(films).load(FILMED)
    assert data.train.clips is not None
    assert data.test.clips is not None
    assert data.train.clips.shape == (6, 3, 3, 8, 8)
    assert data.train.clips.dtype == torch.uint8
    assert greys(data.train.clips) == [[t, t + 2, t + 4] for t in (*range(5), 100)]
    assert greys(data.test.clips) == [[t, t + 2, t + 4] for t in (11, 107)]
    assert data.train.masks is None


def test_clips_that_would_fill_memory_begin_at_fewer_frames(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of them would take twice what may stay in memory, at every second frame."""
    monkeypatch.setattr(clips, "RESIDENT", 3 * 3 * 3 * 8 * 8)
    train = opened(films).load(FILMED).train
    assert train.clips is not None
    assert greys(train.clips) == [[t, t + 2, t + 4] for t in (0, 2, 4, 100)]


def test_masks_fit_their_frames(films: Path) -> None:
    """Object numbers of the frames' central square, for each frame of each clip."""
    train = opened(films).load(MASKED).train
    assert train.clips is not None
    assert train.masks is not None
    assert train.masks.shape == (6, 3, 8, 8)
    assert train.masks.dtype == torch.uint8
    assert (train.masks[:5, ..., :4] == 1).all()
    assert (train.masks[5, ..., :4] == 2).all()
    assert (train.masks[..., 4:] == 0).all()


def test_masks_are_wanted_of_every_frame_or_of_none(films: Path) -> None:
    """Some frames without a mask are fine as long as nobody asks for masks."""
    (films / "Annotations" / "ant" / "00003.png").unlink()
    opened(films).load(FILMED)
    with pytest.raises(UserError, match=r"ant/00003\.png: has no mask; .*Annotations/ant/00003\.png"):
        opened(films).load(MASKED)
    shutil.rmtree(films / "Annotations")
    opened(films).load(FILMED)
    with pytest.raises(UserError, match=r"ant/00000\.png: has no mask"):
        opened(films).load(MASKED)


def test_a_late_mask_of_another_size_is_told_when_it_is_read(films: Path) -> None:
    save_mask(films / "Annotations" / "bee" / "00004.png", 1, (12, 8))
    opened(films).check()
    with pytest.raises(UserError, match=r"bee/00004\.png: 12 x 8 pixels"):
        opened(films).load(MASKED)


GREYS = np.array([[0, 255], [255, 0]], np.uint8).repeat(4, 0).repeat(4, 1)
MASKS: dict[str, tuple[Image.Image, list[int]]] = {
    "white on black": (Image.fromarray(GREYS), [0, 1]),
    "one bit": (Image.fromarray(GREYS).convert("1"), [0, 1]),
    "white on black in RGB": (Image.fromarray(GREYS).convert("RGB"), [0, 1]),
    "softened edges": (Image.fromarray(np.where(GREYS == 0, 40, 255).astype(np.uint8)), [0, 1]),
    "numbers in grey": (Image.fromarray(GREYS // 85), [0, 3]),
    "palette with void": (Image.fromarray(np.where(GREYS == 0, 255, 2).astype(np.uint8), mode="P"), [0, 2]),
}


@pytest.mark.parametrize(("mask", "numbers"), MASKS.values(), ids=MASKS.keys())
def test_every_kind_of_mask_becomes_object_numbers(tmp_path: Path, mask: Image.Image, numbers: list[int]) -> None:
    if mask.mode == "P":
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9, 9, 9] * 253)
    mask.save(tmp_path / "mask.png")
    found = objects(tmp_path / "mask.png", 8)
    assert np.unique(found).tolist() == numbers
    assert np.array_equal(found != 0, (np.asarray(mask.convert("L")) > 127) if mask.mode != "P" else GREYS != 0) or (
        mask.mode == "L" and np.array_equal(found, np.asarray(mask))
    )


def test_a_mask_in_colours_is_refused(tmp_path: Path) -> None:
    """Which object a colour is would be a guess."""
    Image.new("RGB", (8, 8), (128, 0, 0)).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=r"mask\.png: a mask that cannot be read \(colours .* palette or in grey\)"):
        objects(tmp_path / "mask.png", 8)


def test_frames_play_by_their_numbers(films: Path) -> None:
    """Frame 2 comes before frame 10, padded or not."""
    for t in range(16):
        (films / "JPEGImages" / "ant" / f"{t:05}.png").rename(films / "JPEGImages" / "ant" / f"frame{t}.png")
    shutil.rmtree(films / "Annotations")
    assert greys(opened(films).load(IMAGES).train.images[:])[:9] == list(range(9))
    assert sorted(["b10.jpg", "b2.jpg", "a3.jpg", "1.jpg"], key=numbered) == ["1.jpg", "a3.jpg", "b2.jpg", "b10.jpg"]


def test_a_folder_of_a_resolution_may_lie_between(films: Path) -> None:
    """As in DAVIS 2017; of several the first by name counts."""
    before = opened(films).check()
    for folder in FOLDERS:
        (films / folder).rename(films / "480p")
        (films / folder).mkdir()
        (films / "480p").rename(films / folder / "480p")
    shutil.copytree(films / "JPEGImages" / "480p" / "ant", films / "JPEGImages" / "Full-Resolution" / "ant")
    assert opened(films).check() == before
    train = opened(films).load(MASKED).train
    assert train.masks is not None
    assert train.masks.max() == 2


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["zip", "xztar"])
def test_archives_hold_the_same_films(films: Path, tmp_path: Path, kind: str, wrapped: bool) -> None:
    """An archive, wrapped in a folder or not, has the identity of the folder, and the archive's name."""
    inside = {"root_dir": films.parent, "base_dir": "films"} if wrapped else {"root_dir": films}
    archive = shutil.make_archive(str(tmp_path / "davis-tiny"), kind, **inside)
    facts = opened(archive).check()
    assert facts.name == "davis-tiny"
    assert facts.identity == opened(films).check().identity
    assert greys(opened(archive).load(IMAGES).test.images[:]) == [*range(11, 16), *range(107, 112)]


def test_the_identity_follows_what_is_read(films: Path) -> None:
    """Frames, masks and whatever changes a clip change it; where the films lie and who decodes them does not."""
    before = opened(films).check().identity
    moved = shutil.move(films, films.parent / "elsewhere")
    assert opened(moved, workers=1).check().identity == before
    for change in ({"image_size": 16}, {"frames": 2}, {"stride": 1}, {"gap": 1}, {"test": 0.4}):
        assert opened(moved, **change).check().identity != before, change
    save(moved / "JPEGImages" / "ant" / "00001.png", 77)
    assert opened(moved).check().identity != before
    save(moved / "JPEGImages" / "ant" / "00001.png", 1)
    assert opened(moved).check().identity == before
    (moved / "Annotations" / "bee" / "00001.png").unlink()
    assert opened(moved).check().identity != before


def test_frames_are_decoded_once(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second load, also one of other clips of the same parts, reads the cache; an edited frame is read anew."""
    first = opened(films).load(MASKED)

    def fail(*_: Any) -> Any:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("sslbench.bench.data._pictures.decoded", fail)
        patch.setattr("sslbench.bench.data._frames.objects", fail)
        again = opened(films).load(MASKED)
    for what in ("images", "labels", "clips", "masks"):
        assert torch.equal(getattr(first.train, what), getattr(again.train, what))
    again.train.images[:].zero_()  # a private copy: the cache stays as it is
    save(films / "JPEGImages" / "ant" / "00001.png", 200)
    os.utime(films / "JPEGImages" / "ant" / "00001.png", (1, 1))
    assert greys(opened(films).load(IMAGES).train.images[:])[:3] == [0, 200, 2]


def test_unreadable_frames_are_named_all_at_once(films: Path) -> None:
    """Also when they were met before and the answer comes from the cache."""
    (films / "JPEGImages" / "ant" / "00001.png").write_bytes(b"no picture")
    (films / "JPEGImages" / "ant" / "00008.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            opened(films).load(IMAGES)
        sentence = str(caught.value)
        assert "2 pictures cannot be read" in sentence
        assert "--skip-unreadable" in sentence
        assert "JPEGImages/ant/00001.png (not a picture)" in sentence
        assert "JPEGImages/ant/00008.png (empty file)" in sentence


def test_unreadable_frames_are_left_out_with_their_masks(films: Path) -> None:
    """The frames before and after them become neighbours."""
    (films / "JPEGImages" / "ant" / "00001.png").write_bytes(b"no picture")
    train = opened(films, skip_unreadable=True).load(MASKED).train
    assert greys(train.images[:]) == [0, *range(2, 9), *range(100, 105)]
    assert train.labels.tolist() == [0] * 8 + [1] * 5
    assert train.clips is not None
    assert train.masks is not None
    assert greys(train.clips)[0] == [0, 3, 5]
    assert train.masks.shape[:2] == train.clips.shape[:2] == (5, 3)
    assert (train.masks[-1].amax((1, 2)) == 2).all()


def test_too_few_readable_frames_are_refused(films: Path) -> None:
    (films / "JPEGImages" / "bee" / "00001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="too few readable frames of 'bee'"):
        opened(films, skip_unreadable=True).load(IMAGES)


def test_check_needs_no_torch(films: Path) -> None:
    """Planning a run must stay quick."""
    code = f"""
import sys
from sslbench.bench.data.clips import Clips
Clips(data_dir={str(films)!r}, frames=3, gap=2).check()
assert not {{"torch", "torchvision"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
