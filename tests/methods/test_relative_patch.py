"""Relative patches: the grid they are cut from, and the prediction of a neighbour's place."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import random_resized_crops
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._patch_pictures import GREEN, YELLOW
from sslbench.methods._patches import remove_colour
from sslbench.methods.relative_patch import PLACE_NAMES, RelativePatch, patch_layout

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: float | int | str) -> RelativePatch:
    torch.manual_seed(0)
    return RelativePatch(ConvNet(32, width=4), TRAIN_INFO, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_grid_fits_the_image(size: int) -> None:
    """Patches, gaps and jitter use as much of the image as possible; the gap is half a patch."""
    patch, gap, jitter = patch_layout(size, 0.5, 7 / 96)
    assert 3 * patch + 2 * gap + 2 * jitter <= size
    larger = patch + 1
    assert 3 * larger + 2 * round(larger / 2) + 2 * round(larger * 7 / 96) > size
    assert abs(gap - patch / 2) <= 0.5
    assert patch_layout(384 + 14, 0.5, 7 / 96) == (96, 48, 7)  # the paper's
    assert patch_layout(30, 0.0, 0.0) == (10, 0, 0)


def test_patches_are_jittered_separately() -> None:
    """Each patch stays inside the image and within ``jitter`` of its place in the grid, which is centred."""
    method = make_method(jitter=0.2)
    assert (method.patch, method.gap, method.jitter) == (7, 4, 1)
    _, _, top, left = method.draw_patches(torch.zeros(200, 3, 32, 32))
    for corners, cells in ((top, torch.arange(9) // 3), (left, torch.arange(9) % 3)):
        moved = corners - (1 + cells * 11)  # 29 of 32 pixels are the grid's
        assert sorted(moved.unique().tolist()) == [-1, 0, 1]
        assert corners.min() >= 0
        assert corners.max() + 7 <= 32
        assert len(moved[:, 0].unique()) == len(moved[0].unique()) == 3
    assert not torch.equal(top, left)


@pytest.mark.parametrize("colour", ["keep", "projection"])
def test_the_loss_matches_a_loop(colour: str, tiny: Dataset) -> None:
    """The place of each neighbour is predicted from the embeddings of its image's centre and its own, in this order."""
    method = make_method(colour=colour, jitter=0.0).eval()
    for parameter in method.head.parameters():
        torch.nn.init.normal_(parameter)  # large enough that a wrong order shows
    images = tiny.train.images[:3]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(3)))
    torch.manual_seed(1)
    pictures = random_resized_crops(images, scale=(method.crop, 1.0), ratio=(1.0, 1.0), flip=0.0)
    terms, right = [], []
    for picture in pictures:
        patches = {}
        for row, column in itertools.product(range(3), range(3)):
            top, left = 1 + row * 11, 1 + column * 11
            pixels = remove_colour(picture[None, None, :, top : top + 7, left : left + 7], colour)[0]
            patches[row, column] = method.encoder(pixels)[0]
        around = [place for place in patches if place != (1, 1)]
        for target, place in enumerate(around):
            logits = method.head(torch.cat([patches[1, 1], patches[place]]).unsqueeze(0))[0].tolist()
            terms.append(math.log(sum(math.exp(z - max(logits)) for z in logits)) + max(logits) - logits[target])
            right.append(max(range(8), key=logits.__getitem__) == target)
    assert loss.item() == pytest.approx(sum(terms) / 24, rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 24)


def test_the_budget_counts_nine_patches_by_their_pixels() -> None:
    """Nine views of 7 by 7 of 32 by 32 pixels."""
    method = make_method()
    assert method.view_size == 7
    assert method.views_per_image == pytest.approx(9 * 49 / 1024)


def test_panels_show_the_true_place(tiny: Dataset) -> None:
    """Captions name the true place, and both pictures outline the centre and the neighbour."""
    torch.manual_seed(0)
    batch = Batch(images=tiny.train.images[:8], indices=torch.arange(8))
    with torch.no_grad():
        picture, seen, answer = make_method().eval().panels(batch)
    truths = {caption.partition("\n")[0].removeprefix("truth: ") for caption in answer.captions}
    assert truths == set(PLACE_NAMES)  # eight images, each with a neighbour at a different place
    assert seen.images.shape == (8, 3, 69, 138)  # each pixel becomes 9 x 9, with a white border
    for panel in (picture, answer):
        for colour in (YELLOW, GREEN):
            assert (panel.images == torch.tensor(colour).view(1, 3, 1, 1)).all(1).flatten(1).any(1).all()
