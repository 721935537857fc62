"""Tests of the clips data set: how videos are split in time, which frames a clip has, masks and broken frames."""

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
from sslbench.bench.data.clips import Clips
from sslbench.bench.errors import UserError
from tests.builders import changed_folder, empty_folder, invalid_zip, save_grey_picture

NO_NEEDS: frozenset[str] = frozenset()
CLIPS = frozenset({"clips"})
CLIPS_AND_MASKS = frozenset({"clips", "clip_masks"})
FOLDERS = ("JPEGImages", "Annotations")
SHORT_CLIPS: dict[str, Any] = {"image_size": 8, "frames": 3, "stride": 2, "gap": 2}  # clips span 5 frames


def save_frame(path: Path, grey: int) -> None:
    """Saves a frame of one grey, 24 x 16 pixels."""
    save_grey_picture(path, grey, (24, 16))


def save_mask(path: Path, number: int, size: tuple[int, int] = (24, 16)) -> None:
    """Saves a palette picture, as in DAVIS, with an object in its left half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.zeros(size[::-1], np.uint8)
    numbers[:, : size[0] // 2] = number
    mask = Image.fromarray(numbers, mode="P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    mask.save(path)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos of 16 and 12 frames; a frame's grey is unique, and a mask's number is that of its video."""
    root = tmp_path / "videos"
    for number, (name, length) in enumerate((("ant", 16), ("bee", 12)), 1):
        for t in range(length):
            save_frame(root / "JPEGImages" / name / f"{t:05}.png", 100 * (number - 1) + t)
            save_mask(root / "Annotations" / name / f"{t:05}.png", number)
    return root


def open_clips(root: Path | str, **settings: Any) -> Clips:
    """The data source with short clips."""
    return Clips(data_dir=str(root), **SHORT_CLIPS | settings)


def greys(images: torch.Tensor) -> list[Any]:
    """The grey value of each frame (..., 3, S, S)."""
    return images[..., 0, 0, 0].tolist()


def remove_first_frame(root: Path) -> list[None]:
    """Removes the first frame of the second video, and its mask."""
    return [(root / folder / "bee" / "00000.png").unlink() for folder in FOLDERS]


def remove_folders(root: Path, *names: str) -> None:
    """Removes folders."""
    for name in names:
        shutil.rmtree(root / name)


WRONG_LAYOUTS: dict[str, tuple[Callable[[Path], str | None], list[str]]] = {
    "not given": (lambda root: None, ["--dataset clips", "--data-dir DIR", "JPEGImages/<sequence>/"]),
    "missing": (lambda root: str(root / "absent"), ["absent", "no such", "--data-dir"]),
    "empty": (empty_folder, ["nothing", "empty", "JPEGImages/<sequence>/"]),
    "not a zip": (invalid_zip, ["bad.zip", "cannot be unpacked", "Get it again"]),
    "no frames' folder": (
        changed_folder(lambda r: (r / "JPEGImages").rename(r / "frames")),
        ["no JPEGImages folder", "Annotations, frames", "correct --data-dir"],
    ),
    "no sequences": (
        changed_folder(lambda r: remove_folders(r / "JPEGImages", "ant", "bee")),
        ["JPEGImages: no sequences", "two"],
    ),
    "one sequence": (
        changed_folder(lambda r: remove_folders(r / "JPEGImages", "bee")),
        ["only one sequence (ant)", "two or more"],
    ),
    "no frames": (
        changed_folder(lambda r: (r / "JPEGImages" / "cat").mkdir()),
        ["cat: no frames", "Fill or remove", ".jpg"],
    ),
    "short": (
        changed_folder(lambda r: [(r / f / "bee" / f"{t:05}.png").unlink() for f in FOLDERS for t in range(8)]),
        ["'bee' has 4 frames", "take 5", "clips.stride", "remove the sequence"],
    ),
    "all short": (
        changed_folder(
            lambda r: (
                [(r / f / "ant" / f"{t:05}.png").unlink() for f in FOLDERS for t in range(5)] + remove_first_frame(r)
            )
        ),
        ["no sequence has the 12 frames", "the longest, 'ant', has 11", "clips.gap"],
    ),
    "a mask too many": (
        changed_folder(lambda r: save_mask(r / "Annotations" / "ant" / "00016.png", 1)),
        ["00016.png", "a mask without its frame", "Add the frame"],
    ),
    "a sequence of masks too many": (
        changed_folder(lambda r: save_mask(r / "Annotations" / "cat" / "00000.png", 1)),
        ["Annotations: cat", "masks without frames", "Add the frames"],
    ),
    "a mask of another size": (
        changed_folder(lambda r: save_mask(r / "Annotations" / "ant" / "00000.png", 1, (16, 16))),
        ["ant/00000.png: 16 x 16 pixels", "24 x 16", "one size"],
    ),
}


@pytest.mark.parametrize(("make", "words"), WRONG_LAYOUTS.values(), ids=WRONG_LAYOUTS.keys())
def test_a_wrong_layout_is_reported_in_one_line(
    videos: Path, make: Callable[[Path], str | None], words: list[str], cache: Path
) -> None:
    """The message names the problem and the remedy, and no frame is decoded."""
    with pytest.raises(UserError) as error:
        Clips(data_dir=make(videos), **SHORT_CLIPS).check()
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert not (cache / "pictures").exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("image_size", 4), ("frames", 1), ("stride", 0), ("test", 0.0), ("test", 1.0), ("gap", -1), ("workers", 0)],
)
def test_settings_out_of_range_are_refused(videos: Path, setting: str, value: float) -> None:
    """The message begins with the setting and its value."""
    with pytest.raises(UserError, match=rf"^clips\.{setting} = {value}"):
        open_clips(videos, **{setting: value}).check()


def test_a_name_must_be_safe_in_tables(videos: Path) -> None:
    """Spaces are refused."""
    with pytest.raises(UserError, match=r"^name = 'a b'"):
        open_clips(videos, name="a b").check()
    assert open_clips(videos, name="two").check().name == "two"


def test_a_forbidden_folder_is_named(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is simulated, because tests may run as root, who may read everything."""

    def scandir(where: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(where))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"videos: permission denied\. Make it readable .* --data-dir"):
        open_clips(videos).check()


def test_videos_are_split_in_time(videos: Path) -> None:
    """The last frames of each are test, at least the length of a clip; the gap before them is in neither split."""
    source = open_clips(videos)
    info, data = source.check(), source.load(NO_NEEDS)
    assert (info.name, info.classes, info.image_size) == ("videos", ("ant", "bee"), 8)
    assert greys(data.train.images[:]) == [*range(9), *range(100, 105)]
    assert greys(data.test.images[:]) == [*range(11, 16), *range(107, 112)]
    assert (info.train_images, info.test_images) == (14, 10)
    assert data.train.labels.tolist() == [0] * 9 + [1] * 5
    assert data.test.labels.tolist() == [0] * 5 + [1] * 5
    assert data.train.labels.dtype == torch.int64
    assert data.train.images[:].dtype == torch.uint8
    assert data.train.images[:].shape == (14, 3, 8, 8)
    assert data.train.clips is None
    assert data.train.clip_masks is None
    assert greys(open_clips(videos, test=0.4, gap=0).load(NO_NEEDS).test.images[:]) == [
        *range(10, 16),
        *range(107, 112),
    ]


def test_a_video_too_short_to_be_split_is_all_train(videos: Path) -> None:
    """It has train clips, and its class has no test frames."""
    remove_first_frame(videos)
    data = open_clips(videos).load(CLIPS_AND_MASKS)
    assert greys(data.train.images[:])[9:] == list(range(101, 112))
    assert greys(data.test.images[:]) == list(range(11, 16))
    assert data.test.labels.tolist() == [0] * 5
    assert data.classes == ("ant", "bee")
    assert data.train.clips is not None
    assert data.test.clips is not None
    assert data.test.clip_masks is not None
    assert [clip[0] for clip in greys(data.train.clips)] == [*range(5), *range(101, 108)]
    assert len(data.test.clips) == len(data.test.clip_masks) == 1


def test_clips_do_not_cross_splits(videos: Path) -> None:
    """From every frame of a split, ``frames`` frames ``stride`` apart, none beyond its end."""
    data = open_clips(videos).load(CLIPS)
    assert data.train.clips is not None
    assert data.test.clips is not None
    assert data.train.clips.shape == (6, 3, 3, 8, 8)
    assert data.train.clips.dtype == torch.uint8
    assert greys(data.train.clips) == [[t, t + 2, t + 4] for t in (*range(5), 100)]
    assert greys(data.test.clips) == [[t, t + 2, t + 4] for t in (11, 107)]
    assert data.train.clip_masks is None


def test_fewer_clips_are_made_if_memory_is_short(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all clips would take twice the limit, a clip begins at every second frame."""
    monkeypatch.setattr(clips, "RESIDENT", 3 * 3 * 3 * 8 * 8)
    train = open_clips(videos).load(CLIPS).train
    assert train.clips is not None
    assert greys(train.clips) == [[t, t + 2, t + 4] for t in (0, 2, 4, 100)]


def test_masks_fit_their_frames(videos: Path) -> None:
    """Object numbers of the central square, for each frame of each clip."""
    train = open_clips(videos).load(CLIPS_AND_MASKS).train
    assert train.clips is not None
    assert train.clip_masks is not None
    assert train.clip_masks.shape == (6, 3, 8, 8)
    assert train.clip_masks.dtype == torch.uint8
    assert (train.clip_masks[:5, ..., :4] == 1).all()
    assert (train.clip_masks[5, ..., :4] == 2).all()
    assert (train.clip_masks[..., 4:] == 0).all()


def test_missing_masks_matter_only_if_masks_are_needed(videos: Path) -> None:
    """Then every frame needs one."""
    (videos / "Annotations" / "ant" / "00003.png").unlink()
    open_clips(videos).load(CLIPS)
    with pytest.raises(UserError, match=r"ant/00003\.png: has no mask; .*Annotations/ant/00003\.png"):
        open_clips(videos).load(CLIPS_AND_MASKS)
    shutil.rmtree(videos / "Annotations")
    open_clips(videos).load(CLIPS)
    with pytest.raises(UserError, match=r"ant/00000\.png: has no mask"):
        open_clips(videos).load(CLIPS_AND_MASKS)


def test_a_mask_of_another_size_is_found_at_the_latest_when_it_is_read(videos: Path) -> None:
    """The check looks only at one mask of each video."""
    save_mask(videos / "Annotations" / "bee" / "00004.png", 1, (12, 8))
    open_clips(videos).check()
    with pytest.raises(UserError, match=r"bee/00004\.png: 12 x 8 pixels"):
        open_clips(videos).load(CLIPS_AND_MASKS)


def test_frames_are_ordered_by_number(videos: Path) -> None:
    """Frame 2 comes before frame 10, with or without leading zeros."""
    for t in range(16):
        (videos / "JPEGImages" / "ant" / f"{t:05}.png").rename(videos / "JPEGImages" / "ant" / f"frame{t}.png")
    shutil.rmtree(videos / "Annotations")
    assert greys(open_clips(videos).load(NO_NEEDS).train.images[:])[:9] == list(range(9))


def test_frames_may_be_in_a_folder_per_resolution(videos: Path) -> None:
    """As in DAVIS 2017; the first folder by name is used."""
    before = open_clips(videos).check()
    for folder in FOLDERS:
        (videos / folder).rename(videos / "480p")
        (videos / folder).mkdir()
        (videos / "480p").rename(videos / folder / "480p")
    shutil.copytree(videos / "JPEGImages" / "480p" / "ant", videos / "JPEGImages" / "Full-Resolution" / "ant")
    assert open_clips(videos).check() == before
    train = open_clips(videos).load(CLIPS_AND_MASKS).train
    assert train.clip_masks is not None
    assert train.clip_masks.max() == 2


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["zip", "xztar"])
def test_an_archive_gives_the_same_data_as_a_folder(videos: Path, tmp_path: Path, kind: str, wrapped: bool) -> None:
    """The identity is that of the folder, the name that of the archive; both layouts of archives work."""
    inside = {"root_dir": videos.parent, "base_dir": "videos"} if wrapped else {"root_dir": videos}
    archive = shutil.make_archive(str(tmp_path / "davis-tiny"), kind, **inside)
    info = open_clips(archive).check()
    assert info.name == "davis-tiny"
    assert info.identity == open_clips(videos).check().identity
    assert greys(open_clips(archive).load(NO_NEEDS).test.images[:]) == [*range(11, 16), *range(107, 112)]


def test_the_identity_depends_only_on_content_and_settings(videos: Path) -> None:
    """Frames, masks and settings of clips change it; the place of the files and the number of threads do not."""
    before = open_clips(videos).check().identity
    moved = shutil.move(videos, videos.parent / "elsewhere")
    assert open_clips(moved, workers=1).check().identity == before
    for change in ({"image_size": 16}, {"frames": 2}, {"stride": 1}, {"gap": 1}, {"test": 0.4}):
        assert open_clips(moved, **change).check().identity != before, change
    save_frame(moved / "JPEGImages" / "ant" / "00001.png", 77)
    assert open_clips(moved).check().identity != before
    save_frame(moved / "JPEGImages" / "ant" / "00001.png", 1)
    assert open_clips(moved).check().identity == before
    (moved / "Annotations" / "bee" / "00001.png").unlink()
    assert open_clips(moved).check().identity != before


def test_frames_are_decoded_once(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second load, also of other clips of the same splits, reads the cache; an edited frame is decoded again."""
    first = open_clips(videos).load(CLIPS_AND_MASKS)

    def fail(*_: Any) -> Any:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr("sslbench.bench.data._pictures.decode_picture", fail)
        patch.setattr("sslbench.bench.data._masks.read_mask", fail)
        again = open_clips(videos).load(CLIPS_AND_MASKS)
    for what in ("images", "labels", "clips", "clip_masks"):
        assert torch.equal(getattr(first.train, what), getattr(again.train, what))
    again.train.images[:].zero_()  # a private copy: the cache does not change
    save_frame(videos / "JPEGImages" / "ant" / "00001.png", 200)
    os.utime(videos / "JPEGImages" / "ant" / "00001.png", (1, 1))
    assert greys(open_clips(videos).load(NO_NEEDS).train.images[:])[:3] == [0, 200, 2]


def test_all_broken_frames_are_reported_together(videos: Path) -> None:
    """Also when the list of broken frames comes from the cache."""
    (videos / "JPEGImages" / "ant" / "00001.png").write_bytes(b"no picture")
    (videos / "JPEGImages" / "ant" / "00008.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError) as error:
            open_clips(videos).load(NO_NEEDS)
        message = str(error.value)
        assert "2 pictures cannot be read" in message
        assert "--skip-unreadable" in message
        assert "JPEGImages/ant/00001.png (not a picture)" in message
        assert "JPEGImages/ant/00008.png (empty file)" in message


def test_broken_frames_are_skipped_with_their_masks(videos: Path) -> None:
    """The frames before and after them become neighbours."""
    (videos / "JPEGImages" / "ant" / "00001.png").write_bytes(b"no picture")
    train = open_clips(videos, skip_unreadable=True).load(CLIPS_AND_MASKS).train
    assert greys(train.images[:]) == [0, *range(2, 9), *range(100, 105)]
    assert train.labels.tolist() == [0] * 8 + [1] * 5
    assert train.clips is not None
    assert train.clip_masks is not None
    assert greys(train.clips)[0] == [0, 3, 5]
    assert train.clip_masks.shape[:2] == train.clips.shape[:2] == (5, 3)
    assert (train.clip_masks[-1].amax((1, 2)) == 2).all()


def test_too_few_readable_frames_are_refused(videos: Path) -> None:
    """Each video must have the frames of at least one clip."""
    (videos / "JPEGImages" / "bee" / "00001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="too few readable frames of 'bee'"):
        open_clips(videos, skip_unreadable=True).load(NO_NEEDS)


def test_check_needs_no_torch(videos: Path) -> None:
    """Planning a run must stay fast."""
    code = f"""
import sys
from sslbench.bench.data.clips import Clips
Clips(data_dir={str(videos)!r}, frames=3, gap=2).check()
assert not {{"torch", "torchvision"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_change_of_any_frame_or_mask_changes_the_identity(videos: Path) -> None:
    """Also with the same length and time of modification, and what is loaded changes with it."""
    for path in [*videos.rglob("*.png")]:
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    masks: list[torch.Tensor] = []
    identities = set()
    for changed in (None, "JPEGImages/bee/00002.bmp", "Annotations/bee/00002.bmp"):
        if changed:
            path = videos / changed
            status, content = path.stat(), bytearray(path.read_bytes())
            content[-12] ^= 1  # in the middle of the upper row
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        source = open_clips(videos, image_size=16)
        identities.add(source.check().identity)
        masks += [source.load(CLIPS_AND_MASKS).train.clip_masks]  # type: ignore[list-item]
    assert len(identities) == 3
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


def test_frames_of_more_than_8_bits_have_one_range(videos: Path) -> None:
    """That of the train split, unless a setting gives it."""
    for path in [*(videos / "JPEGImages").rglob("*.png")]:
        ramp = np.linspace(100, 3000 + int(path.stem), 24 * 16).reshape(16, 24).astype(np.uint16)
        Image.fromarray(ramp).save(path)
    info, images = open_clips(videos).check(), open_clips(videos).load(NO_NEEDS).train.images[:]
    assert info.value_range == (100, 3008)
    assert len(images.unique()) > 50
    given = open_clips(videos, range=(0, 9000))
    assert int(given.load(NO_NEEDS).train.images[:].max()) < 100
    assert given.check().identity != info.identity


def test_files_beside_the_frames_are_named(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By their endings."""
    (videos / "JPEGImages" / "ant" / "00099.heic").write_bytes(b"x")
    open_clips(videos).check()
    assert "are left out: 1 .heic" in caplog.text


def test_a_link_to_no_frame_is_reported(videos: Path) -> None:
    """A missing frame would shift all others in time."""
    (videos / "JPEGImages" / "ant" / "00003.png").unlink()
    (videos / "JPEGImages" / "ant" / "00003.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"00003\.png: a link that leads nowhere\. Fix or remove it"):
        open_clips(videos).check()
