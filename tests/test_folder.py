"""Folders of pictures: what is refused and how, what is read, and what is kept."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslbench.bench.data import _archive, _pictures, _splits
from sslbench.bench.data._pictures import LazyImages, decoded
from sslbench.bench.data._store import replacing
from sslbench.bench.data.folder import Folder
from sslbench.bench.data.imagenet import ImageNet
from sslbench.bench.errors import UserError

LOAD: frozenset[str] = frozenset()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def save(path: Path, value: int = 0, size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes; a picture's grey says which one it is."""
    root = tmp_path / "pets"
    for i, (split, name) in enumerate((s, n) for s in ("train", "test") for n in ("cat", "dog")):
        for k in range(3):
            save(root / split / name / f"{k}.png", 60 * i + k)
    return root


def edit(change: Callable[[Path], Any]) -> Callable[[Path], str]:
    def apply(root: Path) -> str:
        change(root)
        return str(root)

    return apply


def without_classes(split: str) -> Callable[[Path], str]:
    return edit(lambda root: [shutil.rmtree(folder) for folder in (root / split).iterdir()])  # type: ignore[func-returns-value]


def plain_file(root: Path) -> str:
    (root / "notes.txt").write_text("x")
    return str(root / "notes.txt")


def empty(root: Path) -> str:
    (root / "nothing").mkdir()
    return str(root / "nothing")


def no_archive(root: Path) -> str:
    (root / "bad.zip").write_bytes(b"not a zip")
    return str(root / "bad.zip")


def broken_tar(root: Path) -> str:
    (root / "bad.tar.xz").write_bytes(b"not a tar")
    return str(root / "bad.tar.xz")


WRONG: dict[str, tuple[Callable[[Path], str | None], list[str]]] = {
    "not given": (lambda root: None, ["--dataset folder", "--data-dir DIR", "train/<class>/"]),
    "missing": (lambda root: str(root / "gone"), ["gone", "no such", "--data-dir"]),
    "a file": (plain_file, ["notes.txt", "neither a directory nor", "--data-dir"]),
    "empty": (empty, ["nothing", "empty", "train/<class>/"]),
    "not a zip": (no_archive, ["bad.zip", "cannot be unpacked", "Get it again"]),
    "not a tar": (broken_tar, ["bad.tar.xz", "cannot be unpacked", "Get it again"]),
    "no train": (edit(lambda r: (r / "train").rename(r / "training")), ["no train split", "test, training", "rename"]),
    "no test": (edit(lambda r: (r / "test").rename(r / "dev")), ["no test or val split", "dev, train", "Move some"]),
    "one class": (edit(lambda r: shutil.rmtree(r / "train" / "dog")), ["only one class (cat)", "two or more"]),
    "no classes": (without_classes("train"), ["no class folders", "two"]),
    "flat test": (without_classes("test"), ["test: no class folders"]),
    "strange class": (edit(lambda r: (r / "test" / "dog").rename(r / "test" / "dogs")), ["'dogs'", "train", "Rename"]),
    "empty class": (edit(lambda r: (r / "train" / "ant").mkdir()), ["'ant'", "without pictures", "Fill or remove"]),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_in_one_line(
    pets: Path, make: Callable[[Path], str | None], words: list[str], cache: Path
) -> None:
    """The sentence names the thing and the mend, and nothing was decoded."""
    with pytest.raises(UserError) as caught:
        Folder(data_dir=make(pets)).check()
    sentence = str(caught.value)
    assert [word for word in words if word not in sentence] == []
    assert "\n" not in sentence
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
    with pytest.raises(UserError) as caught:
        Folder(data_dir=str(pets), **settings).check()
    assert all(word in str(caught.value) for word in words)


def test_a_forbidden_folder_is_named(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised by hand, since tests may run as root, whom nothing is forbidden."""

    def scandir(where: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(where))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"pets: permission denied\. Make it readable .* --data-dir"):
        Folder(data_dir=str(pets)).check()


def test_order_labels_and_facts(pets: Path) -> None:
    """Pictures come by class and path; labels are the classes' places in alphabetical order."""
    source = Folder(data_dir=str(pets))
    facts, data = source.check(), source.load(LOAD)
    assert (facts.name, facts.classes, facts.image_size) == ("pets", ("cat", "dog"), 16)
    assert (facts.train_images, facts.test_images) == (6, 6)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.labels.dtype == torch.int64
    assert data.train.images[:].dtype == torch.uint8
    assert data.train.images[:].shape == (6, 3, 16, 16)
    assert data.train.images[:][:, 0, 0, 0].tolist() == [0, 1, 2, 60, 61, 62]
    assert data.test.images[torch.tensor([5, 0])][:, 0, 0, 0].tolist() == [182, 120]


def test_a_class_may_be_absent_from_test(pets: Path) -> None:
    shutil.rmtree(pets / "test" / "cat")
    assert Folder(data_dir=str(pets)).load(LOAD).test.labels.tolist() == [1, 1, 1]


def test_val_serves_where_there_is_no_test(pets: Path) -> None:
    shutil.copytree(pets / "test", pets / "val")
    (pets / "val" / "cat" / "0.png").unlink()
    assert Folder(data_dir=str(pets)).check().test_images == 6
    shutil.rmtree(pets / "test")
    assert Folder(data_dir=str(pets)).check().test_images == 5


def test_hidden_and_other_files_are_not_pictures(pets: Path) -> None:
    for name in ("._0.png", "readme.md", "Thumbs.db"):
        (pets / "train" / "cat" / name).write_bytes(b"x")
    save(pets / "train" / "cat" / "more" / "3.PNG")
    (pets / "train" / "cat" / "round").symlink_to(pets / "train" / "cat", target_is_directory=True)
    assert Folder(data_dir=str(pets)).check().train_images == 7


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar"])
def test_archives_hold_the_same_set(pets: Path, tmp_path: Path, kind: str, wrapped: bool) -> None:
    """An archive, wrapped in a folder or not, has the identity of the folder, and the archive's name."""
    inside = {"root_dir": pets.parent, "base_dir": "pets"} if wrapped else {"root_dir": pets}
    archive = shutil.make_archive(str(tmp_path / "cifar10-jpeg"), kind, **inside)
    facts = Folder(data_dir=archive).check()
    assert facts.name == "cifar10-jpeg"
    assert facts.identity == Folder(data_dir=str(pets)).check().identity
    assert Folder(data_dir=archive).load(LOAD).train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_an_archive_is_unpacked_once(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", pets)
    before = Folder(data_dir=archive).check()
    monkeypatch.setattr(_archive, "_unzip", None)
    assert Folder(data_dir=archive).check() == before


def test_a_wrapped_folder_is_accepted(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    pets.rename(tmp_path / "download" / "inner")
    assert Folder(data_dir=str(tmp_path / "download")).check().name == "download"


def tar_with(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 0 if link else 3
        file.addfile(member, io.BytesIO(b"abc"))
    return path


def zip_with(path: Path, name: str, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        file.writestr(member, b"abc")
    return path


ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tar up": (lambda d: tar_with(d / "a.tar.gz", "../../evil"), "outside"),
    "tar absolute": (lambda d: tar_with(d / "a.tar.gz", "/evil"), "outside"),
    "tar symlink": (lambda d: tar_with(d / "a.tar.gz", "evil", tarfile.SYMTYPE, "/etc"), "link"),
    "tar hard link": (lambda d: tar_with(d / "a.tar.gz", "evil", tarfile.LNKTYPE, "/etc/passwd"), "link"),
    "zip up": (lambda d: zip_with(d / "a.zip", "train/../../evil"), "outside"),
    "zip backslash": (lambda d: zip_with(d / "a.zip", "..\\evil"), "outside"),
    "zip symlink": (lambda d: zip_with(d / "a.zip", "evil", stat.S_IFLNK | 0o777), "link"),
}


@pytest.mark.parametrize(("make", "why"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_archive_that_reaches_outside_is_refused(
    tmp_path: Path, cache: Path, make: Callable[[Path], Path], why: str
) -> None:
    archive = make(tmp_path)
    with pytest.raises(UserError, match=f"refused.*evil.*{why}"):
        Folder(data_dir=str(archive)).check()
    assert not list(tmp_path.rglob("evil"))
    assert [p for p in (cache / "unpacked").iterdir() if p.suffix != ".lock"] == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_too_large_is_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    archive = shutil.make_archive(str(tmp_path / "big"), kind, pets)
    monkeypatch.setattr(_archive, "LARGEST", 100)
    with pytest.raises(UserError, match=r"big.*more than .* GiB.*Unpack it yourself"):
        Folder(data_dir=archive).check()


def test_identity_is_of_the_content_not_of_the_place(pets: Path, tmp_path: Path) -> None:
    """A copy is the same set; another picture, label, size or preparation is another one."""
    identity = Folder(data_dir=str(pets)).check().identity
    copy = tmp_path / "elsewhere"
    shutil.copytree(pets, copy, copy_function=shutil.copy)
    os.utime(copy / "train" / "cat" / "0.png", (1, 1))
    assert Folder(data_dir=str(copy), workers=7).check().identity == identity
    assert Folder(data_dir=str(copy), image_size=8).check().identity != identity
    save(copy / "train" / "cat" / "0.png", 200)
    assert Folder(data_dir=str(copy)).check().identity != identity
    shutil.copy(pets / "train" / "cat" / "0.png", copy / "train" / "cat" / "0.png")
    assert Folder(data_dir=str(copy)).check().identity == identity
    (copy / "train" / "cat" / "0.png").rename(copy / "train" / "dog" / "9.png")
    assert Folder(data_dir=str(copy)).check().identity != identity


def test_the_name_is_the_settings_or_the_folders(pets: Path, tmp_path: Path) -> None:
    assert Folder(data_dir=str(pets), name="mine-2").check().name == "mine-2"
    odd = pets.rename(tmp_path / "my pets (new)")
    assert Folder(data_dir=str(odd)).check().name == "my-pets-new"


def test_image_size_is_the_pictures_own_only_if_it_is_one_and_small(pets: Path) -> None:
    assert Folder(data_dir=str(pets)).check().image_size == 16
    save(pets / "train" / "cat" / "0.png", size=(20, 20))
    assert Folder(data_dir=str(pets)).check().image_size == 64
    for path in pets.glob("t*/*/*.png"):
        save(path, size=(200, 200))
    assert Folder(data_dir=str(pets)).check().image_size == 64
    assert Folder(data_dir=str(pets), image_size=32).load(LOAD).train.images[:].shape == (6, 3, 32, 32)


def test_check_needs_no_torch(pets: Path) -> None:
    code = f"""
import sys
from sslbench.bench.data.folder import Folder
from sslbench.bench.data.imagenet import ImageNet
from sslbench.bench.data.cifar10 import Cifar10
from sslbench.bench.data.stl10 import Stl10
Folder(data_dir={str(pets)!r}).check(); Cifar10().check(); Stl10().check()
assert not {{"torch", "torchvision"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def column(picture: np.ndarray[Any, Any]) -> list[int]:
    return picture[:, 0, 0].tolist()  # type: ignore[no-any-return]


GREY16 = np.full((8, 8), 128 * 257, dtype=np.uint16)
MODES: dict[str, tuple[Image.Image, str, list[int]]] = {
    "grey": (Image.new("L", (8, 8), 90), "png", [90, 90, 90]),
    "grey with alpha": (Image.new("LA", (8, 8), (90, 10)), "png", [90, 90, 90]),
    "black and white": (Image.new("1", (8, 8), 1), "png", [255, 255, 255]),
    "palette": (Image.new("RGB", (8, 8), (255, 0, 0)).convert("P"), "gif", [255, 0, 0]),
    "transparent": (Image.new("RGBA", (8, 8), (10, 20, 30, 128)), "png", [10, 20, 30]),
    "print colours": (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "tif", [0, 0, 0]),
    "16 bit": (Image.fromarray(GREY16), "png", [128, 128, 128]),
    "16 bit tiff": (Image.fromarray(GREY16), "tif", [128, 128, 128]),
    "32 bit": (Image.fromarray(GREY16.astype(np.int32)), "tif", [128, 128, 128]),
    "float": (Image.fromarray(np.full((8, 8), 0.5, np.float32)), "tiff", [128, 128, 128]),
    "webp": (Image.new("RGB", (8, 8), (7, 7, 7)), "webp", [7, 7, 7]),
    "bmp": (Image.new("RGB", (8, 8), (7, 8, 9)), "bmp", [7, 8, 9]),
    "ppm": (Image.new("RGB", (8, 8), (7, 8, 9)), "ppm", [7, 8, 9]),
}


@pytest.mark.parametrize(("image", "suffix", "expected"), MODES.values(), ids=MODES.keys())
def test_every_kind_of_picture_becomes_rgb(
    tmp_path: Path, image: Image.Image, suffix: str, expected: list[int]
) -> None:
    path = tmp_path / f"picture.{suffix}"
    image.save(path, lossless=True)  # which only WebP heeds
    picture = decoded(path, 8)
    assert picture.shape == (3, 8, 8)
    assert picture.dtype == np.uint8
    assert column(picture) == expected


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    """Orientation 6 says that the camera was held sideways: the left edge of the file is the top of the scene."""
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "sideways.png", exif=exif)
    picture = decoded(tmp_path / "sideways.png", 16)
    assert (picture[:, :8] == 255).all()
    assert (picture[:, 8:] == 0).all()


def test_the_centre_of_the_longer_side_is_kept(tmp_path: Path) -> None:
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2).copy()).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert (decoded(tmp_path / name, 16) == 200).all()


def spoil(root: Path) -> None:
    (root / "train" / "cat" / "1.png").write_bytes(b"no picture")
    (root / "train" / "dog" / "0.png").write_bytes(b"")
    whole = (root / "test" / "cat" / "0.png").read_bytes()
    (root / "test" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("size", [16, 100])
def test_unreadable_pictures_are_named_all_at_once(pets: Path, size: int) -> None:
    """Before any is asked for, and also when they were met before and the answer comes from the cache."""
    spoil(pets)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            Folder(data_dir=str(pets), image_size=size).load(LOAD)
        sentence = str(caught.value)
        assert "3 pictures cannot be read" in sentence
        assert "--skip-unreadable" in sentence
        assert all(
            name in sentence for name in ("train/cat/1.png (not a picture)", "train/dog/0.png", "test/cat/0.png")
        )


@pytest.mark.parametrize("size", [16, 100])
def test_unreadable_pictures_are_left_out_with_their_labels(pets: Path, size: int) -> None:
    """Both where pictures are kept and where they are read when asked for."""
    spoil(pets)
    data = Folder(data_dir=str(pets), image_size=size, skip_unreadable=True).load(LOAD)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    assert data.train.images[:][:, 0, 0, 0].tolist() == [0, 2, 61, 62]
    assert len(data.test.images) == len(data.test.labels) == 5


def test_a_picture_that_may_not_be_opened_is_no_broken_picture(
    pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving it out, and remembering so, would outlast the moment in which a disk or a permission failed."""

    def forbidden(path: Path | str, size: int) -> np.ndarray[Any, Any]:
        raise PermissionError(13, "Permission denied", str(path))

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"0\.png: cannot be opened \(Permission denied\)"),
    ):
        patch.setattr(_pictures, "decoded", forbidden)
        Folder(data_dir=str(pets), skip_unreadable=True).load(LOAD)
    assert len(Folder(data_dir=str(pets)).load(LOAD).train) == 6


def test_a_class_without_a_readable_picture_is_refused(pets: Path) -> None:
    for path in (pets / "train" / "dog").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="'dog' is left without a readable picture"):
        Folder(data_dir=str(pets), skip_unreadable=True).load(LOAD)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that were decoded since."""
    seen: list[str] = []

    def counted(path: Path | str, size: int) -> np.ndarray[Any, Any]:
        seen.append(str(path))
        return decoded(path, size)

    monkeypatch.setattr(_pictures, "decoded", counted)
    return seen


def test_small_pictures_are_decoded_once(pets: Path, reads: list[str]) -> None:
    first = Folder(data_dir=str(pets)).load(LOAD)
    assert len(reads) == 12
    again = Folder(data_dir=str(pets)).load(LOAD)
    assert len(reads) == 12
    assert torch.equal(first.train.images[:], again.train.images[:])
    again.train.images[:].zero_()  # a private copy: the cache stays as it is
    assert torch.equal(first.train.images[:], Folder(data_dir=str(pets)).load(LOAD).train.images[:])


def test_an_edited_picture_of_equal_length_is_decoded_again(pets: Path) -> None:
    for path in pets.glob("t*/*/*.png"):
        save(path.with_suffix(".bmp"))
        path.unlink()
    source = Folder(data_dir=str(pets))
    before = source.load(LOAD).train.images[:]
    save(pets / "train" / "cat" / "1.bmp", 255)
    os.utime(pets / "train" / "cat" / "1.bmp", (1, 1))
    after = Folder(data_dir=str(pets)).load(LOAD).train.images[:]
    assert before[1].max() == 0
    assert after[1].min() == 255


@pytest.mark.parametrize("victim", ["images.npy", "labels.npy", "broken.json"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_cache_is_rebuilt(pets: Path, cache: Path, reads: list[str], victim: str, damage: str) -> None:
    first = Folder(data_dir=str(pets)).load(LOAD).train.images[:].clone()
    (entry,) = (cache / "pictures").glob("pets-train-*")
    content = (entry / victim).read_bytes()
    (entry / victim).unlink()
    if damage != "gone":
        (entry / victim).write_bytes(content[:-1] if damage == "cut" else b"rubbish")
    again = Folder(data_dir=str(pets)).load(LOAD)
    assert len(reads) == 18  # the train split once more
    assert torch.equal(first, again.train.images[:])
    assert again.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [path.name for path in (cache / "pictures").iterdir() if path.name[0] == "." and path.is_dir()] == []


def test_an_entry_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "box" / "entry") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert list((tmp_path / "box").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "blocked"))
    with pytest.raises(UserError, match=r"cache folder .*blocked cannot be written.*SSLBENCH_CACHE"):
        Folder(data_dir=str(pets)).load(LOAD)


def told_by_two(code: str, told: Path) -> str:
    """What two processes that run the same code at once write to the file that is their argument."""
    command = [sys.executable, "-c", code, str(told)]
    running = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    return told.read_text()


def test_two_processes_prepare_an_entry_once(tmp_path: Path, cache: Path) -> None:
    """The second one waits for the first and finds its pictures."""
    code = """
import sys, time
import numpy as np
from sslbench.bench.data._store import stored
def chunks():
    with open(sys.argv[1], "a") as file:
        file.write("decoded ")
    time.sleep(0.3)
    yield np.full((2, 3, 8, 8), 7, np.uint8), np.array([0, 1]), []
found = stored("entry", 8, 2, chunks)
assert (found.images == 7).all() and found.labels.tolist() == [0, 1]
"""
    assert told_by_two(code, tmp_path / "told") == "decoded "


def test_two_processes_look_a_large_set_over_once(tmp_path: Path, cache: Path) -> None:
    """The second one waits for the first and takes its word."""
    code = """
import sys, time
from sslbench.bench.data._store import remembered
def find():
    with open(sys.argv[1], "a") as file:
        file.write("looked ")
    time.sleep(0.3)
    return [(3, "empty file")]
assert remembered("entry", find) == [(3, "empty file")]
"""
    assert told_by_two(code, tmp_path / "told") == "looked "


def photographs(root: Path) -> list[str]:
    noise = np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate([(300, 200), (64, 80), (90, 90), (500, 700)]):
        smooth = Image.fromarray(noise.integers(0, 255, (5, 5, 3), dtype=np.uint8)).resize((width, height))
        smooth.save(root / f"{i}.jpg")
        paths.append(f"{i}.jpg")
    return paths


def test_lazy_images_are_what_decoding_them_all_gives(tmp_path: Path) -> None:
    """By slice, by indices in any order with repeats, and by mask."""
    paths = photographs(tmp_path)
    images = LazyImages(tmp_path, paths, size=48, workers=2)
    ((whole, broken),) = _pictures.chunks_decoded([str(tmp_path / path) for path in paths], 48, 2)
    expected = torch.from_numpy(whole)
    assert broken == []
    assert len(images) == 4
    assert torch.equal(images[:], expected)
    assert torch.equal(images[1:3], expected[1:3])
    for indices in (
        torch.tensor([3, 0, 3]),
        torch.tensor([], dtype=torch.int64),
        torch.tensor([True, False, True, False]),
    ):
        assert torch.equal(images[indices], expected[indices])
    assert torch.equal(pickle.loads(pickle.dumps(images))[:], expected)


def test_large_sets_are_read_when_asked_for(pets: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Folder(data_dir=str(pets)).load(LOAD).train.images[:]
    monkeypatch.setattr(_splits, "RESIDENT", 0)
    reads.clear()
    Folder(data_dir=str(pets)).load(LOAD)
    assert len(reads) == 12  # a look at each, once
    reads.clear()
    data = Folder(data_dir=str(pets)).load(LOAD)
    assert isinstance(data.train.images, LazyImages)
    Folder(data_dir=str(pets), image_size=100).load(LOAD)
    assert reads == []  # what can be read can be read at any size
    assert torch.equal(data.train.images[torch.tensor([4, 1])], kept[[4, 1]])
    assert len(reads) == 2


def test_a_picture_that_breaks_after_the_look_is_named(pets: Path) -> None:
    """When it is asked for; the others can still be had."""
    data = Folder(data_dir=str(pets), image_size=100).load(LOAD)
    spoil(pets)
    assert data.train.images[torch.tensor([0])].shape == (1, 3, 100, 100)
    with pytest.raises(UserError, match=r"cat/1.png \(not a picture\).*--skip-unreadable"):
        data.train.images[torch.tensor([1])]


def test_draft_decoding_stays_close_to_the_whole_picture(tmp_path: Path) -> None:
    path = tmp_path / photographs(tmp_path)[3]
    with Image.open(path) as image:
        whole = np.asarray(_pictures.square(image.convert("RGB"), 48)).transpose(2, 0, 1)
    assert np.abs(decoded(path, 48).astype(int) - whole).mean() < 2


@pytest.fixture
def wordnet(pets: Path) -> Path:
    """The pets under the names of ImageNet."""
    (pets / "test").rename(pets / "val")
    for split in ("train", "val"):
        (pets / split / "cat").rename(pets / split / "n02123045")
        (pets / split / "dog").rename(pets / split / "n02084071")
    return pets


def test_imagenet_is_read_lazily_at_224_pixels(wordnet: Path) -> None:
    source = ImageNet(data_dir=str(wordnet))
    assert (source.check().name, source.check().image_size) == ("imagenet2", 224)
    data = source.load(LOAD)
    assert isinstance(data.train.images, LazyImages)
    assert data.test.images[torch.tensor([0])].shape == (1, 3, 224, 224)
    assert data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: None, ["--dataset imagenet", "--data-dir DIR", "ILSVRC2012_img_train.tar", "image-net.org"]),
        (lambda root: str(root / "gone"), ["gone", "no such", "train/<wnid>/*.JPEG"]),
        (edit(lambda root: shutil.rmtree(root / "val")), ["no val split", "ILSVRC2012_img_val.tar"]),
        (edit(lambda root: shutil.rmtree(root / "train")), ["no train split", "ILSVRC2012_img_train.tar"]),
        (
            edit(lambda root: [(root / s / "n02084071").rename(root / s / "dog") for s in ("train", "val")]),
            ["'dog'", "folder"],
        ),
    ],
    ids=["not given", "missing", "no val", "no train", "other names"],
)
def test_imagenet_says_what_to_put_where(wordnet: Path, make: Callable[[Path], str | None], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        ImageNet(data_dir=make(wordnet)).check()
    assert [word for word in words if word not in str(caught.value)] == []
