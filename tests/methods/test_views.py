"""The augmented views of joint-embedding methods, and the panels that show a pair of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.images.augment import to_float
from sslbench.methods._views import (
    BYOL,
    MOCO,
    SIMCLR,
    SWAV,
    VICREG,
    Augmentation,
    pair_panels,
    random_view,
    small_crop_side,
    small_crops,
    two_views,
    weaker_jitter,
)


def test_two_views_are_a_view_of_each_image_and_then_another_of_each() -> None:
    """Rows n and N + n show image n, and all views of equal images differ."""
    shades = torch.tensor([0, 60, 120, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 32, 32)
    views = two_views(shades, Augmentation(jitter=0.0))
    want = to_float(torch.cat([shades, shades]))
    torch.testing.assert_close(views, want, atol=5e-3, rtol=0)
    image = torch.rand(1, 3, 32, 32).repeat(3, 1, 1, 1)
    for augmentations in ((), (MOCO,), BYOL):
        assert len(two_views(image, *augmentations).flatten(1).unique(dim=0)) == 6


def test_the_second_augmentation_makes_the_second_views(tiny: Dataset) -> None:
    """With two augmentations, the first N views use the first and the others the second."""
    images = tiny.train.images[:3]
    light, dark = Augmentation(solarise=0.0), Augmentation(solarise=1.0)
    torch.manual_seed(0)
    views = two_views(images, light, dark)
    torch.manual_seed(0)
    assert torch.equal(views[:3], random_view(images, light))
    assert torch.equal(views[3:], random_view(images, dark))
    assert views[3:].max() <= 0.5


def test_images_below_64_pixels_are_not_blurred(tiny: Dataset) -> None:
    """``blur`` has no effect at 32 pixels, as in SimCLR's CIFAR experiments, and has one at 64."""
    small = tiny.train.images[:4]
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    for images, same in ((small, True), (large, False)):
        seen = []
        for blur in (0.0, 1.0):
            torch.manual_seed(0)
            seen.append(random_view(images, replace(SIMCLR, blur=blur)))
        assert torch.equal(*seen) is same


def test_augmentations_are_the_papers() -> None:
    """SimCLR's on CIFAR, MoCo v2's crop, BYOL's two with different blur and solarisation, and VICReg's single one."""
    assert (
        Augmentation(crop=0.08, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.8, grey=0.2) == SIMCLR
    )
    assert replace(SIMCLR, crop=0.2) == MOCO
    assert [(one.saturation, one.blur, one.solarise) for one in BYOL] == [(0.2, 1.0, 0.0), (0.2, 0.1, 0.2)]
    assert (VICREG.saturation, VICREG.blur, VICREG.solarise) == (0.2, 0.5, 0.1)


def test_weaker_jitter_scales_the_changes_of_colour() -> None:
    """Brightness, contrast, saturation and hue are scaled, and nothing else."""
    assert (
        weaker_jitter(SWAV, 1) == SWAV == Augmentation(crop=0.14, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    )
    assert weaker_jitter(SWAV, 0.5) == Augmentation(crop=0.14, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_small_crops_show_a_small_part(size: int) -> None:
    """They have 3 / 7 of the image's side, and show at most the share of the area that a large crop shows at least."""
    ramp = torch.linspace(0, 1, size).view(1, 1, size, 1) + torch.tensor([0.0, -2.0]).view(2, 1, 1, 1)
    crops = small_crops(ramp.expand(2, 3, size, size), Augmentation(crop=0.14, jitter=0.0, grey=0.0, blur=0.0), 20)
    side = {32: 14, 64: 27, 224: 96}[size]
    assert small_crop_side(size) == side
    assert crops.shape == (40, 3, side, side)
    shown = crops[::2].amax((1, 2, 3)) - crops[::2].amin((1, 2, 3))
    assert shown.max() <= math.sqrt(0.14 * 4 / 3)
    assert shown.min() >= 0.8 * math.sqrt(0.05 * 3 / 4)
    assert not crops[1::2].any()
    assert len(shown.unique()) == 20


def test_a_pair_is_shown_with_its_rank() -> None:
    """Captions give the cosine of both views and the second view's rank; the last panel is the nearest other image."""
    views = torch.rand(6, 3, 4, 4)
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    second = torch.tensor([[3.0, 0.0], [1.0, 0.1], [-1.0, 1.0]])
    one, other, nearest = pair_panels(views, torch.cat([first, second]))
    assert torch.equal(one.images, views[:3])
    assert torch.equal(other.images, views[3:])
    assert other.captions == (
        "cosine 1.00\nrank 1 of 3 views",
        "cosine 0.10\nrank 2 of 3 views",
        "cosine 0.00\nrank 3 of 3 views",
    )
    assert torch.equal(nearest.images, views[3:][[1, 2, 1]])
    assert nearest.captions == ("cosine 1.00", "cosine 0.71", "cosine 0.77")
