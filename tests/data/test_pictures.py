"""Tests of decoding: colour modes, orientation, crops, and pictures read on demand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslbench.bench.data._pictures import LazyImages, decode_chunks, decode_picture, resize_square
from sslbench.bench.data._rgb import ValueRange


def first_pixel(picture: np.ndarray[Any, Any]) -> list[int]:
    """The colour of the upper left pixel."""
    return picture[:, 0, 0].tolist()  # type: ignore[no-any-return]


GREY16 = np.full((8, 8), 128 * 257, dtype=np.uint16)


MODES: dict[str, tuple[Image.Image, str, list[int]]] = {
    "grey": (Image.new("L", (8, 8), 90), "png", [90, 90, 90]),
    "grey with alpha": (Image.new("LA", (8, 8), (90, 10)), "png", [90, 90, 90]),
    "black and white": (Image.new("1", (8, 8), 1), "png", [255, 255, 255]),
    "palette": (Image.new("RGB", (8, 8), (255, 0, 0)).convert("P"), "gif", [255, 0, 0]),
    "transparent": (Image.new("RGBA", (8, 8), (10, 20, 30, 128)), "png", [10, 20, 30]),
    "print colours": (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "tif", [0, 0, 0]),
    "webp": (Image.new("RGB", (8, 8), (7, 7, 7)), "webp", [7, 7, 7]),
    "bmp": (Image.new("RGB", (8, 8), (7, 8, 9)), "bmp", [7, 8, 9]),
    "ppm": (Image.new("RGB", (8, 8), (7, 8, 9)), "ppm", [7, 8, 9]),
}


RANGES: dict[str, tuple[Image.Image, str, ValueRange]] = {
    "16 bit": (Image.fromarray(GREY16), "png", (0, 65535)),
    "16 bit tiff": (Image.fromarray(GREY16), "tif", (0, 65535)),
    "12 bit": (Image.fromarray(GREY16 // 16), "tif", (0, 4095)),
    "32 bit": (Image.fromarray(GREY16.astype(np.int32) - 70_000), "tif", (-70_000, -4_465)),
    "float": (Image.fromarray(np.full((8, 8), 0.5, np.float32)), "tiff", (0, 1)),
    "large floats": (Image.fromarray(np.full((8, 8), 2485, np.float32)), "tiff", (840, 4117)),
}


@pytest.mark.parametrize(("image", "suffix", "value_range"), RANGES.values(), ids=RANGES.keys())
def test_greys_of_more_than_8_bits_are_scaled_by_the_given_range(
    tmp_path: Path, image: Image.Image, suffix: str, value_range: ValueRange
) -> None:
    """The middle of the range is a middle grey; without a range they are refused."""
    path = tmp_path / f"picture.{suffix}"
    image.save(path)
    assert first_pixel(decode_picture(path, 8, None, value_range)) == [128, 128, 128]
    with pytest.raises(ValueError, match="more than 8 bits"):
        decode_picture(path, 8)


@pytest.mark.parametrize(("image", "suffix", "expected"), MODES.values(), ids=MODES.keys())
def test_every_colour_mode_becomes_rgb(tmp_path: Path, image: Image.Image, suffix: str, expected: list[int]) -> None:
    """8-bit RGB from greys, palettes, transparency and CMYK."""
    path = tmp_path / f"picture.{suffix}"
    image.save(path, lossless=True)  # only WebP has this option
    picture = decode_picture(path, 8)
    assert picture.shape == (3, 8, 8)
    assert picture.dtype == np.uint8
    assert first_pixel(picture) == expected


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    """EXIF orientation 6: the left edge of the file is the top of the scene."""
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "sideways.png", exif=exif)
    picture = decode_picture(tmp_path / "sideways.png", 16)
    assert (picture[:, :8] == 255).all()
    assert (picture[:, 8:] == 0).all()


def test_the_central_square_is_kept(tmp_path: Path) -> None:
    """The longer side is cropped at both ends."""
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, 16:32] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2).copy()).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert (decode_picture(tmp_path / name, 16) == 200).all()


def save_photographs(root: Path) -> list[str]:
    """Saves four smooth JPEG files of different sizes; returns their names."""
    noise = np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate([(300, 200), (64, 80), (90, 90), (500, 700)]):
        smooth = Image.fromarray(noise.integers(0, 255, (5, 5, 3), dtype=np.uint8)).resize((width, height))
        smooth.save(root / f"{i}.jpg")
        paths.append(f"{i}.jpg")
    return paths


def test_lazy_images_equal_decoded_ones(tmp_path: Path) -> None:
    """By slice, by indices in any order with repeats, by mask, and after pickling."""
    paths = save_photographs(tmp_path)
    images = LazyImages(tmp_path, paths, size=48, workers=2)
    ((whole, broken),) = decode_chunks([str(tmp_path / path) for path in paths], 48, 2)
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


def test_decoding_at_a_lower_resolution_is_accurate(tmp_path: Path) -> None:
    """JPEG files are decoded at about twice the wanted size."""
    path = tmp_path / save_photographs(tmp_path)[3]
    with Image.open(path) as image:
        whole = np.asarray(resize_square(image.convert("RGB"), 48)).transpose(2, 0, 1)
    assert np.abs(decode_picture(path, 48).astype(int) - whole).mean() < 2
