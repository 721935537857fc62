"""RotNet: which view is rotated by how much, and that only the image's content reveals it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.augment import random_flip
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import rotnet
from sslbench.methods.rotnet import RotNet, every_rotation, rotate

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def rotate_left(image: Tensor, quarters: int) -> Tensor:
    """Rotates the image (C, S, S) counter-clockwise by quarter turns, pixel by pixel."""
    for _ in range(quarters):
        S = image.shape[-1]
        rows = [torch.stack([image[:, column, S - 1 - row] for column in range(S)], dim=1) for row in range(S)]
        image = torch.stack(rows, dim=1)
    return image


@pytest.mark.parametrize("angles", [(0, 90, 180, 270), (90, 270), (180, 0)])
def test_views_and_turns_match_a_loop(angles: tuple[int, ...]) -> None:
    """View number k * N + n is image n rotated by angle k, and its label is k."""
    images = torch.arange(3 * 2 * 5 * 5).view(3, 2, 5, 5).to(torch.uint8)
    views, turns = every_rotation(images, angles)
    want = [(rotate_left(image, angle // 90), k) for k, angle in enumerate(angles) for image in images]
    assert views.dtype == torch.uint8
    assert torch.equal(views, torch.stack([view for view, _ in want]))
    assert turns.tolist() == [k for _, k in want]


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is the mean over all rotations of all images of -log of the true rotation's probability."""
    torch.manual_seed(0)
    method = RotNet(ConvNet(32, width=4), TRAIN_INFO).eval()
    images = tiny.train.images[:3]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(3)))
    torch.manual_seed(1)
    flipped = random_flip(images, 0.5)
    terms, right = [], []
    for image in flipped:
        for turn in range(4):
            logits = method.head(method.encoder(rotate_left(image, turn).unsqueeze(0)))[0].tolist()
            terms.append(math.log(sum(math.exp(z) for z in logits)) - logits[turn])
            right.append(max(range(4), key=logits.__getitem__) == turn)
    assert loss.item() == pytest.approx(sum(terms) / 12, abs=1e-4)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 12)


@pytest.mark.parametrize("size", [31, 32, 34])
def test_quarter_turns_by_interpolation(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the small random rotation, interpolation by multiples of 90 degrees is rot90 of the inner square."""
    monkeypatch.setattr(rotnet, "WOBBLE", 0.0)
    images = torch.rand(2, 3, size, size)
    side = int(size / math.sqrt(2))
    edge = (size - side) // 2
    inner = images[..., edge : edge + side, edge : edge + side]
    if (size - side) % 2:  # the inner square's pixels are between the image's
        inner = F.avg_pool2d(images, 2, 1)[..., edge : edge + side, edge : edge + side]
    for quarters in range(4):
        got = rotate(images, 90 * quarters)
        torch.testing.assert_close(got, inner.rot90(quarters, (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [32, 45, 64])
def test_views_contain_no_black_corners(size: int) -> None:
    """A rotated view uses no pixel outside its image, whatever is there."""
    images = torch.ones(4, 1, size, size)
    outside = F.pad(images, (size,) * 4)
    for angle in range(0, 360, 15):
        assert rotate(images, angle).min() > 1 - 1e-5
        # The same rotation of a black image three times as large, cropped to the same square.
        torch.manual_seed(angle)
        side, large = int(size / math.sqrt(2)), int(3 * size / math.sqrt(2))
        wide = rotate(outside, angle)
        start = (large - side + 1) // 2
        assert wide[..., start + 1 : start + side - 1, start + 1 : start + side - 1].min() > 0.99


def test_every_class_is_resampled_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one oblique angle, 0 degrees is cropped too, and each view has its own small random rotation."""
    images = torch.rand(1, 3, 32, 32).repeat(8, 1, 1, 1)
    views, turns = every_rotation(images, (0, 45, 90))
    assert views.shape == (24, 3, 22, 22)
    assert turns.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert all(len(views[turns == k].flatten(1).unique(dim=0)) == 8 for k in range(3))
    monkeypatch.setattr(rotnet, "WOBBLE", 0.0)
    ramp = torch.linspace(0, 1, 32).expand(2, 3, 32, 32)  # brighter to the right
    turned = rotate(ramp, 45)[0, 0]  # now brighter to the upper right
    reach = 0.5 + 10.5 * math.sqrt(2) / 31
    corners = [turned[0, 0], turned[0, -1], turned[-1, 0], turned[-1, -1]]
    assert [corner.item() for corner in corners] == pytest.approx([0.5, reach, 1 - reach, 0.5], abs=1e-3)


def test_equal_angles_are_refused() -> None:
    """Two classes with the same rotation cannot be distinguished."""
    for angles in ((0, 360), (0, 90, 90)):
        with pytest.raises(UserError, match=r"rotnet\.angles"):
            RotNet(ConvNet(32, width=4), TRAIN_INFO, angles=angles)


def test_views_are_counted_for_every_angle() -> None:
    """Four angles cost four views per image; eight oblique ones, cropped to 22 of 32 pixels, count by their area."""
    assert RotNet(ConvNet(32, width=4), TRAIN_INFO).views_per_image == 4
    method = RotNet(ConvNet(32, width=4), TRAIN_INFO, angles=tuple(range(0, 360, 45)))
    assert method.views_per_image == pytest.approx(8 * (22 / 32) ** 2)
    assert method.view_size == 22
    assert isinstance(method.head, nn.Linear)
    assert method.head.out_features == 8
