"""Relative patches: where they come from, what colours they keep, and which of the eight places is asked for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.augment import random_resized_crops
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._patch_pictures import GREEN, YELLOW, outline_squares, magnify, draw_place_probabilities
from sslbench.methods._patches import cut_squares, remove_colour
from sslbench.methods.relative_patch import NAMES, RelativePatch, lengths

FACTS = TrainInfo(num_images=64, num_classes=10, image_size=32)


def small(**settings: float | int | str) -> RelativePatch:
    torch.manual_seed(0)
    return RelativePatch(ConvNet(32, width=4), FACTS, **settings)  # type: ignore[arg-type]


def test_squares_are_cut_at_their_corners() -> None:
    """Square p of image n is its pixels from row top[n, p] and column left[n, p] on, in every channel."""
    number, row, column = torch.meshgrid(torch.arange(3), torch.arange(9), torch.arange(9), indexing="ij")
    images = torch.stack([number, row, column], dim=1)  # every pixel says where it is
    top, left = torch.randint(6, (2, 3, 4))
    cut = cut_squares(images, top, left, 4)
    assert cut.shape == (3, 4, 3, 4, 4)
    for n, p, y, x in itertools.product(range(3), range(4), range(4), range(4)):
        assert cut[n, p, :, y, x].tolist() == [n, top[n, p] + y, left[n, p] + x]


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_grid_fits_the_image(size: int) -> None:
    """Patches, gaps and what they move by fill as much of the image as they can; the gap is half a patch."""
    patch, gap, jitter = lengths(size, 0.5, 7 / 96)
    assert 3 * patch + 2 * gap + 2 * jitter <= size
    larger = patch + 1
    assert 3 * larger + 2 * round(larger / 2) + 2 * round(larger * 7 / 96) > size
    assert abs(gap - patch / 2) <= 0.5
    assert lengths(384 + 14, 0.5, 7 / 96) == (96, 48, 7)  # the paper's
    assert lengths(30, 0.0, 0.0) == (10, 0, 0)


def test_patches_move_by_themselves_around_their_places() -> None:
    """Each patch stays within ``jitter`` of its place in the grid, which is centred, and inside the image."""
    method = small(jitter=0.2)
    assert (method.patch, method.gap, method.jitter) == (7, 4, 1)
    _, top, left = method.parts(torch.zeros(200, 3, 32, 32))
    for corners, cells in ((top, torch.arange(9) // 3), (left, torch.arange(9) % 3)):
        moved = corners - (1 + cells * 11)  # 29 of 32 pixels are the grid's
        assert sorted(moved.unique().tolist()) == [-1, 0, 1]
        assert corners.min() >= 0
        assert corners.max() + 7 <= 32
        assert len(moved[:, 0].unique()) == len(moved[0].unique()) == 3
    assert not torch.equal(top, left)


def test_dropping_leaves_one_channel() -> None:
    """Each patch keeps one channel, not always the same; the others are grey, with noise of 1/100 of its spread."""
    torch.manual_seed(0)
    patches = torch.rand(6, 9, 3, 16, 16) * torch.rand(6, 9, 1, 1, 1)
    views = remove_colour(patches, "drop")
    kept = (views == patches).flatten(3).all(3)  # (6, 9, 3)
    assert (kept.sum(2) == 1).all()
    assert kept.flatten(0, 1).any(0).all()
    assert any(len(row.unique(dim=0)) > 1 for row in kept)
    for n, p, c in itertools.product(range(6), range(9), range(3)):
        if not kept[n, p, c]:
            spread = patches[n, p, kept[n, p]].std()
            assert views[n, p, c].std().item() == pytest.approx(0.01 * spread.item(), rel=0.3)
            assert views[n, p, c].mean().item() == pytest.approx(0.5, abs=0.002)


def test_projection_takes_green_against_magenta_away() -> None:
    """x - x a'a / (a a') with a = [-1, 2, -1]: nothing is left along a, and grey is left alone."""
    patches = torch.rand(2, 9, 3, 4, 4)
    views = remove_colour(patches, "projection")
    a = [-1.0, 2.0, -1.0]
    for n, p, y, x in itertools.product(range(2), range(9), range(4), range(4)):
        pixel = patches[n, p, :, y, x].tolist()
        along = sum(v * w for v, w in zip(pixel, a, strict=True)) / 6
        expected = [v - along * w for v, w in zip(pixel, a, strict=True)]
        assert views[n, p, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)
    grey = torch.rand(2, 9, 1, 4, 4).expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(remove_colour(grey, "projection"), grey)
    assert remove_colour(patches, "keep") is patches


@pytest.mark.parametrize("colour", ["keep", "projection"])
def test_the_loss_matches_a_loop(colour: str, tiny: Dataset) -> None:
    """Each neighbour is joined to the centre of its own image, centre first, and its place is to be told."""
    method = small(colour=colour, jitter=0.0).eval()
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
    method = small()
    assert method.view_size == 7
    assert method.views_per_image == pytest.approx(9 * 49 / 1024)


def test_an_unknown_colour_is_refused() -> None:
    """It is an error that names the setting."""
    with pytest.raises(UserError, match=r"^relative_patch\.colour = "):
        small(colour="lose")


def test_the_answer_is_a_map_of_places(tiny: Dataset) -> None:
    """Probabilities are greys around the centre, and captions name the truth and the answer."""
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.0]])
    cells = draw_place_probabilities(shares)[0, 0, 32::64, 32::64].flatten().tolist()
    assert cells == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.0, 0.5, 0.6, 0.7, 0.0])
    torch.manual_seed(0)
    batch = Batch(images=tiny.train.images[:8], indices=torch.arange(8))
    with torch.no_grad():
        picture, seen, answer = small().eval().panels(batch)
    truths = {caption.partition("\n")[0].removeprefix("truth: ") for caption in answer.captions}
    assert truths == set(NAMES)  # eight images, each asked for another place
    assert seen.images.shape == (8, 3, 69, 138)  # each pixel nine, and white around
    for panel in (picture, answer):
        for colour in (YELLOW, GREEN):
            assert (panel.images == torch.tensor(colour).view(1, 3, 1, 1)).all(1).flatten(1).any(1).all()


def test_a_frame_lies_inside_its_square() -> None:
    """Three pixels wide, along the square's edge; nothing else changes."""
    images = magnify(torch.zeros(2, 3, 5, 5), 4)
    drawn = outline_squares(images, torch.tensor([2, 5]), torch.tensor([3, 0]), 10, YELLOW)
    for image, (top, left) in zip(drawn, ((2, 3), (5, 0)), strict=True):
        for y, x in itertools.product(range(20), range(20)):
            margin = min(y - top, x - left, top + 9 - y, left + 9 - x)
            expected = YELLOW if 0 <= margin < 3 else (0.0, 0.0, 0.0)
            assert image[:, y, x].tolist() == pytest.approx(expected)
