"""Images that carry a larger copy of themselves, from which random crops are cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslbench.bench.images import augment
from sslbench.bench.images.larger import larger_copy_of, move_images, with_larger_copy
from sslbench.methods._views import SIMCLR, Augmentation, random_view, small_crops, two_views

STILL = Augmentation(jitter=0.0, grey=0.0, blur=0.0)


def striped(side: int, period: int) -> Tensor:
    """Two squares of vertical stripes, uint8 (2, 3, side, side); the second is inverted."""
    columns = (torch.arange(side) % period < period // 2).to(torch.uint8) * 255
    image = columns.expand(3, side, side)
    return torch.stack([image, 255 - image])


@pytest.fixture
def carrying() -> Tensor:
    """Two grey squares of 16 pixels whose larger copies of 32 pixels have stripes."""
    return with_larger_copy(torch.full((2, 3, 16, 16), 128, dtype=torch.uint8), striped(32, 8))


def test_a_crop_is_read_from_the_larger_copy_and_has_the_side_of_the_image(carrying: Tensor) -> None:
    """A whole picture without mirroring is the larger copy shrunk by bilinear reading; a crop has the same window."""
    whole = augment.random_resized_crops(carrying, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    pairs = striped(32, 8).float().div(255).unflatten(3, (16, 2)).mean(4).unflatten(2, (16, 2)).mean(3)
    torch.testing.assert_close(whole, pairs)
    torch.manual_seed(0)
    crops = augment.random_resized_crops(carrying, scale=(0.08, 0.5))
    torch.manual_seed(0)
    same = augment.random_resized_crops(striped(32, 8), scale=(0.08, 0.5), size=16)
    assert crops.shape == (2, 3, 16, 16)
    torch.testing.assert_close(crops, same)


def test_without_a_copy_nothing_changes(carrying: Tensor) -> None:
    """A tensor that was computed from the images has no copy, so its crops are its own."""
    assert larger_copy_of(augment.random_flip(carrying)) is None
    crops = augment.random_resized_crops(carrying + 0)
    torch.testing.assert_close(crops, torch.full_like(crops, 128 / 255))


def test_repeated_and_moved_images_keep_their_copy(carrying: Tensor) -> None:
    """Row N + n of both is image n again."""
    for images in (
        augment.repeat_images(carrying, 3),
        move_images(augment.repeat_images(carrying, 3), carrying.device),
    ):
        copy = larger_copy_of(images)
        assert copy is not None
        assert torch.equal(copy, striped(32, 8).repeat(3, 1, 1, 1))
        assert len(images) == 6
    assert larger_copy_of(augment.repeat_images(carrying + 0, 2)) is None


def test_views_are_cut_from_the_copy(carrying: Tensor) -> None:
    """One view, two equal augmentations in one pass, two different ones, and small crops: none of them is grey."""
    for views in (
        random_view(carrying, STILL),
        two_views(carrying, STILL),
        two_views(carrying, STILL, SIMCLR),
        small_crops(carrying, STILL, 3),
    ):
        assert (views.amax((1, 2, 3)) - views.amin((1, 2, 3)) > 0.3).all()
