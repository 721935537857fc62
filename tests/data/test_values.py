"""Tests of pictures of more than 8 bits: one range of values per data set, known or refused."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from tests.builders import save_grey_picture

NO_NEEDS: frozenset[str] = frozenset()
Values = NDArray[Any]


def gradient(low: float, high: float, dtype: type[np.generic]) -> Values:
    """A picture (16, 16) with all values from low to high."""
    return np.linspace(low, high, 256).reshape(16, 16).astype(dtype)


def save_tiles(root: Path, train: Values, test: Values, suffix: str = "tif") -> Path:
    """Two classes of two pictures per split, each a turned copy."""
    for split, values in (("train", train), ("test", test)):
        for i, name in enumerate(("a", "b")):
            for k in range(2):
                path = root / split / name / f"{k}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.rot90(values, 2 * i + k).copy()).save(path)
    return root


KINDS = {
    "12 of 16 bits": (np.uint16, 3, 4090, "tif"),
    "12 of 16 bits as png": (np.uint16, 3, 4090, "png"),
    "12 of 16 bits as pgm": (np.uint16, 3, 4090, "pgm"),
    "int32": (np.int32, -70_000, 200_000, "tif"),
    "floats": (np.float32, 840, 4130, "tif"),
    "small floats": (np.float32, 0.1, 0.9, "tif"),
}


@pytest.mark.parametrize(("dtype", "low", "high", "suffix"), KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("size", [16, 100])
def test_the_range_is_that_of_the_train_split(
    tmp_path: Path, dtype: type[np.generic], low: float, high: float, suffix: str, size: int
) -> None:
    """Its lowest value is black and its highest white, in both splits, decoded at once or on demand."""
    root = save_tiles(tmp_path / "tiles", gradient(low, high, dtype), gradient(low, (low + high) / 2, dtype), suffix)
    source = Folder(data_dir=str(root), image_size=size)
    data = source.load(NO_NEEDS)
    assert source.check().value_range == pytest.approx((low, high), rel=1e-6)
    train, test = data.train.images[:], data.test.images[:]
    assert (int(train.min()), int(train.max())) == (0, 255)
    assert len(train.unique()) > 200
    assert abs(int(test.max()) - 128) <= 2


def test_the_range_is_one_for_all_pictures(tmp_path: Path) -> None:
    """A picture of floats up to 1 is dark where others go to 4: the scale is not chosen per picture."""
    root = save_tiles(tmp_path / "tiles", gradient(0, 4, np.float32), gradient(0, 4, np.float32))
    Image.fromarray(gradient(0, 1, np.float32)).save(root / "train" / "a" / "0.tif")
    assert abs(int(Folder(data_dir=str(root)).load(NO_NEEDS).train.images[:][0].max()) - 64) <= 1


def test_unsigned_32_bits_are_not_negative(tmp_path: Path) -> None:
    """Pillow reads values above 2^31 as negative numbers."""
    root = save_tiles(tmp_path / "tiles", gradient(0, 2**31 - 1, np.int32), gradient(0, 2**31 - 1, np.int32))
    for path in root.rglob("*.tif"):
        content = path.read_bytes()
        signed = struct.pack("<HHIHH", 339, 3, 1, 2, 0)
        pixels = struct.pack("<i", 2**31 - 1)
        assert content.count(signed) == 1
        path.write_bytes(content.replace(signed, struct.pack("<HHIHH", 339, 3, 1, 1, 0)).replace(pixels, b"\xff" * 4))
    assert Folder(data_dir=str(root)).check().value_range == (0, 2**32 - 1)


def test_a_given_range_is_used_and_part_of_the_identity(tmp_path: Path) -> None:
    """Values outside of it become black or white."""
    root = save_tiles(tmp_path / "tiles", gradient(0, 4000, np.uint16), gradient(0, 4000, np.uint16))
    own = Folder(data_dir=str(root)).check()
    source = Folder(data_dir=str(root), range=(1000, 2000))
    images = source.load(NO_NEEDS).train.images[:]
    assert source.check().value_range == (1000, 2000)
    assert source.check().identity != own.identity
    assert float((images == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float((images == 255).float().mean()) == pytest.approx(0.5, abs=0.01)


def with_outlier(root: Path) -> dict[str, Any]:
    """A single hot pixel."""
    values = gradient(500, 900, np.uint16)
    save_tiles(root, values, values)
    hot = np.tile(values, (8, 8))
    hot[0, 0] = 65535
    Image.fromarray(hot).save(root / "train" / "a" / "0.tif")
    return {}


def with_pages(root: Path) -> dict[str, Any]:
    """Three channels stored as pages."""
    values = gradient(0, 4000, np.uint16)
    save_tiles(root, values, values)
    pages = [Image.fromarray(values) for _ in range(3)]
    pages[0].save(root / "test" / "b" / "1.tif", save_all=True, append_images=pages[1:])
    return {}


def with_8_bits(root: Path) -> dict[str, Any]:
    """One picture of 8 bits among 16."""
    save_tiles(root, gradient(0, 4000, np.uint16), gradient(0, 4000, np.uint16))
    save_grey_picture(root / "test" / "a" / "9.png", 3)
    return {}


def with_floats(root: Path) -> dict[str, Any]:
    """Floats in test, integers in train."""
    save_tiles(root, gradient(0, 4000, np.uint16), gradient(0, 1, np.float32))
    return {}


def constant(root: Path) -> dict[str, Any]:
    """One value everywhere."""
    save_tiles(root, gradient(7, 7, np.uint16), gradient(7, 7, np.uint16))
    return {}


def with_nan(root: Path) -> dict[str, Any]:
    """A value that is not a number."""
    values = gradient(0, 1, np.float32)
    save_tiles(root, values, values)
    values[3, 3] = np.nan
    Image.fromarray(values).save(root / "train" / "a" / "0.tif")
    return {}


def range_for_8_bits(root: Path) -> dict[str, Any]:
    """A range that would do nothing."""
    save_tiles(root, gradient(0, 255, np.uint8), gradient(0, 255, np.uint8))
    return {"range": (0, 9)}


def wrong_range(*values: float) -> Callable[[Path], dict[str, Any]]:
    """A range that is none."""

    def make(root: Path) -> dict[str, Any]:
        save_tiles(root, gradient(0, 4000, np.uint16), gradient(0, 4000, np.uint16))
        return {"range": values}

    return make


def dark_colours(root: Path) -> dict[str, Any]:
    """16-bit colours that hold 12 bits."""
    colours = np.repeat(gradient(0, 4095, np.uint16)[..., None], 3, 2)
    for split in ("train", "test"):
        for name in ("a", "b"):
            save_colours(root / split / name / "0.png", colours)
    return {}


def late_integers(root: Path) -> dict[str, Any]:
    """One picture of 16-bit greys that is not in the sample of 64, among 100 of 8 bits."""
    return late(root, lambda path: Image.fromarray(gradient(0, 65535, np.uint16)).save(path))


def late_colours(root: Path) -> dict[str, Any]:
    """One picture of dark 16-bit colours that is not in the sample of 64, among 100 of 8 bits."""
    return late(root, lambda path: save_colours(path, np.repeat(gradient(0, 4095, np.uint16)[..., None], 3, 2)))


def late_colours_as_jpg(root: Path) -> dict[str, Any]:
    """The same in a file whose name does not say that it may have more than 8 bits."""
    late_colours(root)
    for path in root.glob("*/*/*.png"):
        path.rename(path.with_suffix(".jpg"))
    return {}


def late(root: Path, save: Callable[[Path], None]) -> dict[str, Any]:
    """Two classes of 50 train pictures of 8 bits; the second picture of class a is replaced by another kind."""
    for k in range(50):
        for name in ("a", "b"):
            save_grey_picture(root / "train" / name / f"{k:02}.png", k)
            if k < 2:
                save_grey_picture(root / "test" / name / f"{k:02}.png", k)
    late_path = root / "train" / "a" / "02.png"
    assert str(late_path) not in Folder(data_dir=str(root))._tree.train.sample()
    save(late_path)
    return {}


def save_colours(path: Path, colours: Values) -> None:
    """Writes a PNG with 16 bits per colour, which Pillow cannot write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    height, width, _ = colours.shape
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks.items()
        )
    )


UNKNOWN: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "a hot pixel": (with_outlier, r"500 to 65535, but nearly all are from .*--set folder\.range=50\d"),
    "pages": (with_pages, r"b/1\.tif \(3 pages, which may be channels or planes; save each"),
    "mixed with 8 bits": (
        with_8_bits,
        r"8 bits \(test/a/9\.png\) and of integers \(train/a/0\.tif\) are mixed.*--set folder\.range=low,high",
    ),
    "mixed with floats": (
        with_floats,
        r"floats \(test/a/0\.tif\) and of integers \(train/a/0\.tif\) are mixed.*--set folder\.range=low,high",
    ),
    "one value": (constant, r"all values in train are 7.*--set folder\.range=low,high"),
    "not a number": (with_nan, r"a/0\.tif \(some values are infinite or not a number\)"),
    "a range without use": (range_for_8_bits, r"only pictures of 8 bits.*Leave it out"),
    "one number": (wrong_range(5), r"folder\.range = 5: must be a lower and a higher value, such as 0,4095"),
    "a falling range": (wrong_range(9, 5), r"folder\.range = 9,5: must be a lower and a higher value"),
    "integers beyond the sample": (late_integers, r"8 bits \(train/a/00\.png\) and of integers \(train/a/02\.png\)"),
    "colours beyond the sample": (late_colours, r"Save train/a/02\.png and its like with 8 bits per colour"),
    "colours of another name": (late_colours_as_jpg, r"a/02\.jpg \(16 bits per colour .* rename it to \.png\)"),
    "12 bits in 16-bit colours": (
        dark_colours,
        r"all below 4,096 of 65,536.*Save train/a/0\.png and its like with 8 bits",
    ),
}


@pytest.mark.parametrize(("make", "message"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_cannot_be_known_is_an_error(tmp_path: Path, make: Callable[[Path], dict[str, Any]], message: str) -> None:
    """In one line that says what to do."""
    settings = make(tmp_path / "tiles")
    with pytest.raises(UserError, match=message) as error:
        Folder(data_dir=str(tmp_path / "tiles"), **settings).load(NO_NEEDS)
    assert "\n" not in str(error.value)


def test_16_bit_colours_of_the_full_range_are_read(tmp_path: Path) -> None:
    """By their upper 8 bits."""
    colours = np.repeat(gradient(0, 65535, np.uint16)[..., None], 3, 2)
    for split in ("train", "test"):
        for name in ("a", "b"):
            save_colours(tmp_path / "tiles" / split / name / "0.png", colours)
    images = Folder(data_dir=str(tmp_path / "tiles")).load(NO_NEEDS).train.images[:]
    assert (images[0, 0].numpy() == colours[..., 0] >> 8).all()


def test_a_smaller_copy_as_second_page_is_no_channel(tmp_path: Path) -> None:
    """Pages of a pyramid repeat the first one at a lower resolution."""
    values = gradient(0, 4000, np.uint16)
    root = save_tiles(tmp_path / "tiles", values, values)
    page = Image.fromarray(values[::2, ::2].copy())
    page.encoderinfo = {"tiffinfo": {254: 1}}
    path = root / "train" / "a" / "0.tif"
    Image.fromarray(values).save(path, save_all=True, append_images=[page])
    assert Folder(data_dir=str(root)).load(NO_NEEDS).train.images[:].shape == (4, 3, 16, 16)


def test_ranges_that_differ_by_far_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the ends of both; ranges that are nearly alike are not."""
    near, far = gradient(0, 4000, np.uint16), gradient(0, 60000, np.uint16)
    with caplog.at_level(logging.WARNING):
        Folder(data_dir=str(save_tiles(tmp_path / "near", near, gradient(10, 3900, np.uint16)))).check()
        assert "in train, but" not in caplog.text
        Folder(data_dir=str(save_tiles(tmp_path / "far", near, far))).check()
    assert "from 0 to 4000 in train, but from 0 to 60000 in test" in caplog.text


def test_pictures_of_8_bits_have_no_range(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their values are kept, and nothing is said."""
    info = Folder(data_dir=str(pets)).check()
    assert info.value_range is None
    assert caplog.text == ""


def test_an_animation_is_reported(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only its first frame is used."""
    frames = [Image.new("L", (16, 16), grey) for grey in (0, 200)]
    frames[0].save(pets / "train" / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    Folder(data_dir=str(pets)).check()
    assert "1 of 13 pictures looked at are animations; only their first frame is used" in caplog.text
