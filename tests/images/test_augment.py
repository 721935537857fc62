"""Tests of augmentations: each function against a slow loop over images that uses the same random numbers."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms.v2 import functional

from sslbench.bench.data import Dataset
from sslbench.bench.images.augment import (
    LUMA_WEIGHTS,
    bernoulli_per_image,
    colour_jitter,
    gaussian_blur,
    random_flip,
    random_resized_crops,
    random_shift,
    solarise,
    to_float,
    uniform_per_image,
)

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "random_flip": random_flip,
    "random_shift": lambda images: random_shift(images, 4),
    "random_resized_crops": random_resized_crops,
    "colour_jitter": colour_jitter,
    "gaussian_blur": gaussian_blur,
    "solarise": solarise,
}


@pytest.fixture
def images(tiny: Dataset) -> Tensor:
    """16 uint8 images of 32 pixels."""
    return tiny.train.images[:16]


def with_seed(make: Callable[[], Tensor], seed: int = 0) -> Tensor:
    """Calls the function with seeded random numbers."""
    torch.manual_seed(seed)
    return make()


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_keeps_shape_and_range(view: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """A view has its images' shape and stays in [0, 255] as uint8 or [0, 1] as floats; the images are not modified."""
    before = images.clone()
    for source in (images, to_float(images)):
        views = view(source)
        assert views.shape == images.shape
        if views.dtype == torch.uint8:
            assert source.dtype == torch.uint8
        else:
            assert views.dtype == torch.float32
            assert views.min() >= 0
            assert views.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_equal_images_get_different_views(view: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """Random numbers are drawn per image: copies of one image get different views."""
    views = with_seed(lambda: view(images[:1].repeat(32, 1, 1, 1)))
    assert len(views.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_depends_only_on_its_image(view: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """With the same random numbers, an image's view does not depend on the other images of the batch."""
    views = with_seed(lambda: view(images))
    others = with_seed(lambda: view(torch.cat([images[:8], images[:8]])))
    torch.testing.assert_close(views[:8], others[:8])


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_stay_on_the_images_device(view: Callable[[Tensor], Tensor]) -> None:
    """No CPU tensor is created for images on a GPU."""
    with FakeTensorMode():
        for dtype in (torch.uint8, torch.float32):
            assert view(torch.empty(4, 3, 32, 32, dtype=dtype, device="cuda")).device.type == "cuda"


def test_conversion_and_random_numbers() -> None:
    """uint8 255 becomes 1 and floats stay as they are; random numbers are one per image and within their bounds."""
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    images = torch.rand(1000, 1, 2, 2)
    assert to_float(images) is images
    assert bernoulli_per_image(images, 0.3).shape == uniform_per_image(images, 2, 3).shape == (1000, 1, 1, 1)
    assert bernoulli_per_image(images, 0.3).float().mean() == pytest.approx(0.3, abs=0.06)
    assert not bernoulli_per_image(images, 0.0).any()
    assert bernoulli_per_image(images, 1.0).all()
    assert 2 <= uniform_per_image(images, 2, 3).min() < 2.1 < 2.9 < uniform_per_image(images, 2, 3).max() <= 3


def test_neutral_settings_return_the_images(images: Tensor) -> None:
    """No flip, no shift, a crop of the whole image and a jitter of strength 0 are the identity."""
    assert torch.equal(random_flip(images, 0), images)
    assert torch.equal(random_flip(images, 1), images.flip(3))
    assert torch.equal(random_shift(images, 0), images)
    whole = random_resized_crops(images, scale=(1, 1), ratio=(1, 1), flip=0)
    torch.testing.assert_close(whole, to_float(images), atol=1e-5, rtol=0)
    mirrored = random_resized_crops(images, scale=(1, 1), ratio=(1, 1), flip=1)
    torch.testing.assert_close(mirrored, to_float(images).flip(3), atol=1e-5, rtol=0)
    # The YIQ matrix and its inverse are written with three decimals.
    tolerance = {"atol": 3e-3, "rtol": 0}
    nothing = colour_jitter(images, brightness=0, contrast=0, saturation=0, hue=0, grey=0)
    torch.testing.assert_close(nothing, to_float(images), **tolerance)
    torch.testing.assert_close(colour_jitter(images, jitter=0, grey=0), to_float(images), **tolerance)


def test_flips_match_a_loop(images: Tensor) -> None:
    """An image is mirrored exactly if its random number is below the probability."""
    views = with_seed(lambda: random_flip(images, 0.4))
    coins = with_seed(lambda: torch.rand(len(images)))
    for image, view, coin in zip(images, views, coins, strict=True):
        assert torch.equal(view, torch.stack([row.flip(-1) for row in image]) if coin < 0.4 else image)


def test_shifts_match_a_loop(images: Tensor) -> None:
    """Pixel (y, x) of a view is pixel (y + down, x + right) of its image, or the nearest on the border."""
    images = images[:3, :, :10, :10]
    views = with_seed(lambda: random_shift(images, 3), seed=1)
    down, right = with_seed(lambda: torch.randint(-3, 4, (2, 3)), seed=1).tolist()
    assert len(set(down)) > 1
    for n, image in enumerate(images):
        for y in range(10):
            for x in range(10):
                row, column = min(max(y + down[n], 0), 9), min(max(x + right[n], 0), 9)
                assert torch.equal(views[n, :, y, x], image[:, row, column])


def test_crops_match_a_loop() -> None:
    """A crop is a random rectangle of the image, sampled bilinearly at the centres of its pixels, mirrored or not."""
    N, S, size = 6, 12, 5
    images = torch.rand(N, 2, S, S)
    scale, ratio = (0.3, 0.9), (0.5, 2.0)
    views = with_seed(lambda: random_resized_crops(images, scale=scale, ratio=ratio, size=size))

    torch.manual_seed(0)
    areas = torch.empty(N).uniform_(*scale).tolist()
    stretches = torch.empty(N).uniform_(math.log(ratio[0]), math.log(ratio[1])).tolist()
    coins = torch.rand(N).tolist()
    places = torch.rand(2, N).tolist()
    assert min(coins) < 0.5 <= max(coins)
    for n in range(N):
        shape = math.exp(stretches[n])  # width over height
        width, height = min(math.sqrt(areas[n] * shape), 1) * S, min(math.sqrt(areas[n] / shape), 1) * S
        left, top = places[0][n] * (S - width), places[1][n] * (S - height)
        for row in range(size):
            for column in range(size):
                y, x = top + (row + 0.5) / size * height - 0.5, left + (column + 0.5) / size * width - 0.5
                want = bilinear(images[n], y, x)
                got = views[n, :, row, size - 1 - column if coins[n] < 0.5 else column]
                torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


def bilinear(image: Tensor, y: float, x: float) -> Tensor:
    """The colour (C,) at (y, x), interpolated between four pixels; the border is repeated."""
    S = image.shape[-1]
    total = torch.zeros(len(image))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - row)) * (1 - abs(x - column))
            total += weight * image[:, min(max(row, 0), S - 1), min(max(column, 0), S - 1)]
    return total


def test_crop_areas_follow_the_scale() -> None:
    """The crop's share of the image is uniform over ``scale`` if no crop has to be clipped."""
    ramp = torch.linspace(0, 1, 64).expand(2000, 1, 64, 64)
    views = random_resized_crops(ramp, scale=(0.25, 0.81), ratio=(1, 1), flip=0)
    # On a ramp along x, the difference of last and first column is the width of the crop.
    sides = views[:, 0, 0, -1] - views[:, 0, 0, 0]
    areas = sides.square()
    assert areas.min() == pytest.approx(0.25, abs=0.02)
    assert areas.max() == pytest.approx(0.81, abs=0.02)
    assert areas.mean() == pytest.approx(0.53, abs=0.02)


def test_colours_match_a_loop() -> None:
    """Brightness, contrast, hue, saturation and grey, pixel by pixel with the same random numbers."""
    N = 8
    images = torch.rand(N, 3, 3, 2)
    views = with_seed(lambda: colour_jitter(images, jitter=0.7, hue=0.2, grey=0.4), seed=3)

    torch.manual_seed(3)
    on = (torch.rand(N) < 0.7).tolist()
    turns = torch.empty(N).uniform_(-0.2, 0.2).tolist()
    saturations = torch.empty(N).uniform_(-0.4, 0.4).tolist()
    greyed = (torch.rand(N) < 0.4).tolist()
    levels = torch.empty(N).uniform_(-0.4, 0.4).tolist()
    spreads = torch.empty(N).uniform_(-0.4, 0.4).tolist()
    assert len(set(on)) == len(set(greyed)) == 2
    for n in range(N):
        level, spread, keep = (1 + on[n] * factors[n] for factors in (levels, spreads, saturations))
        keep *= not greyed[n]
        pixels = [[level * value for value in pixel] for pixel in images[n].flatten(1).T.tolist()]
        mean = sum(map(luma, pixels)) / len(pixels)
        for place, pixel in enumerate(pixels):
            contrasted = [spread * value + (1 - spread) * mean for value in pixel]
            turned = rotate_hue(contrasted, on[n] * turns[n])
            final = [keep * value + (1 - keep) * luma(turned) for value in turned]
            want = [min(max(value, 0), 1) for value in final]
            assert views[n].flatten(1)[:, place].tolist() == pytest.approx(want, abs=0.01)


def luma(pixel: list[float]) -> float:
    """The brightness of an RGB pixel."""
    return sum(weight * value for weight, value in zip(LUMA_WEIGHTS, pixel, strict=True))


def rotate_hue(pixel: list[float], turn: float) -> list[float]:
    """Rotates a pixel's chroma in the YIQ plane by a fraction of a full turn."""
    y = luma(pixel)
    i = 0.5959 * pixel[0] - 0.2746 * pixel[1] - 0.3213 * pixel[2]
    q = 0.2115 * pixel[0] - 0.5227 * pixel[1] + 0.3112 * pixel[2]
    angle = 2 * math.pi * turn
    i, q = i * math.cos(angle) - q * math.sin(angle), i * math.sin(angle) + q * math.cos(angle)
    return [y + 0.956 * i + 0.619 * q, y - 0.272 * i - 0.647 * q, y - 1.106 * i + 1.703 * q]


def test_hue_rotation_agrees_with_hsv() -> None:
    """Up to a third of a turn in either direction changes the hue of HSV by up to a third."""
    red = torch.tensor([0.6, 0.2, 0.2]).view(1, 3, 1, 1).repeat(200, 1, 2, 2)
    hues = [
        colorsys.rgb_to_hsv(*view)[0]
        for view in colour_jitter(red, brightness=0, contrast=0, saturation=0, hue=0.33, grey=0)[:, :, 0, 0].tolist()
    ]
    away = [min(hue, 1 - hue) for hue in hues]
    assert max(away) == pytest.approx(0.33, abs=0.05)
    assert {hue < 0.5 for hue in hues} == {True, False}


def test_grey_images_stay_grey() -> None:
    """Jitter gives no colour to a grey image, and ``grey=1`` removes all colour."""
    values = torch.rand(16, 1, 8, 8).expand(-1, 3, -1, -1)
    for views in (colour_jitter(values, hue=0.5), colour_jitter(torch.rand(16, 3, 8, 8), grey=1)):
        torch.testing.assert_close(views[:, :1].expand_as(views), views, atol=3e-3, rtol=0)


@pytest.mark.parametrize(("side", "window"), [(12, 3), (40, 5), (64, 7)])
def test_blur_matches_torchvision(side: int, window: int) -> None:
    """With the same standard deviation torchvision blurs each image equally."""
    images = torch.rand(6, 3, side, side)
    views = with_seed(lambda: gaussian_blur(images, probability=0.6), seed=2)
    torch.manual_seed(2)
    sigmas = torch.empty(6).uniform_(0.1, 2.0).tolist()
    coins = (torch.rand(6) < 0.6).tolist()
    assert len(set(coins)) == 2
    for image, view, sigma, coin in zip(images, views, sigmas, coins, strict=True):
        want = functional.gaussian_blur(image, [window, window], [sigma, sigma]) if coin else image
        torch.testing.assert_close(view, want, atol=1e-5, rtol=0)


def test_blur_keeps_uniform_images() -> None:
    """The weights sum to 1, at the borders too; a tiny standard deviation changes nothing."""
    even = torch.full((8, 3, 32, 32), 0.7)
    torch.testing.assert_close(gaussian_blur(even, probability=1, sigma=(0.1, 9.0)), even)
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(gaussian_blur(images, probability=1, sigma=(0.1, 0.1)), images)


def test_solarisation_matches_torchvision(images: Tensor) -> None:
    """In selected images values of at least 0.5 are inverted; the others do not change."""
    views = with_seed(lambda: solarise(images, probability=0.4))
    coins = with_seed(lambda: torch.rand(len(images)) < 0.4).tolist()
    assert len(set(coins)) == 2
    for image, view, coin in zip(to_float(images), views, coins, strict=True):
        assert torch.equal(view, functional.solarize(image, 0.5) if coin else image)
    edge = torch.tensor([0.0, 0.4, 0.5, 1.0]).view(1, 1, 2, 2)
    assert solarise(edge, probability=1).flatten().tolist() == pytest.approx([0.0, 0.4, 0.5, 0.0])
