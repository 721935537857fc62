"""What joint-embedding methods share: heads, spread, the two views and how a pair is shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from sslbench.bench.data import Dataset
from sslbench.bench.images.augment import to_float
from sslbench.methods import _views
from sslbench.methods._heads import mlp, spread
from sslbench.methods._views import (
    BYOL,
    MOCO,
    SIMCLR,
    SWAV,
    Augmentation,
    pair_panels,
    weaker_jitter,
    small_crops,
    small_crop_side,
    two_views,
    random_view,
)


def test_an_mlp_has_the_layers_it_names() -> None:
    """Linear layers from width to width, norm and ReLU between them, and no bias where a norm would take it away."""
    plain, normed, last = mlp(3, 4, 5, norm=False), mlp(3, 4, 6, 5), mlp(3, 4, 5, norm_last=True)
    assert [type(layer) for layer in plain] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in normed] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert [type(layer) for layer in last] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert [layer.bias is not None for layer in normed if isinstance(layer, nn.Linear)] == [False, False, True]
    assert [layer.bias is not None for layer in plain if isinstance(layer, nn.Linear)] == [True, True]
    assert last[3].bias is None
    assert not last[4].affine
    assert [type(layer) for layer in mlp(3, 4, 5, norm=False, activation=nn.GELU)] == [nn.Linear, nn.GELU, nn.Linear]
    assert mlp(3, 2)(torch.rand(4, 3)).shape == (4, 2)
    values = torch.rand(7, 3)
    assert [network(values).shape for network in (plain, normed, last)] == [(7, 5)] * 3


def test_spread_matches_a_loop() -> None:
    """The standard deviation of each number of the unit vectors, averaged, times the root of how many there are."""
    embeddings = torch.randn(5, 3)
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in embeddings.tolist()]
    deviations = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / 5
        deviations.append(math.sqrt(sum((x - mean) ** 2 for x in column) / 4))
    assert spread(embeddings).item() == pytest.approx(sum(deviations) / 3 * math.sqrt(3), rel=1e-5)


def test_spread_tells_a_sphere_from_a_point() -> None:
    """1 for directions uniform on the sphere, 0 for one direction, whatever the lengths; no gradient is kept."""
    torch.manual_seed(0)
    embeddings = torch.randn(4000, 32, requires_grad=True)
    assert spread(embeddings).item() == pytest.approx(1, abs=0.01)
    assert not spread(embeddings).requires_grad
    lengths = torch.rand(50, 1) + 0.1
    assert spread(lengths * torch.randn(1, 32)).item() == pytest.approx(0, abs=1e-5)


def test_two_views_are_a_view_of_each_image_and_another_of_each() -> None:
    """Rows n and N + n show image n, and all views of copies differ."""
    shades = torch.tensor([0, 60, 120, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 32, 32)
    views = two_views(shades, Augmentation(jitter=0.0))
    want = to_float(torch.cat([shades, shades]))
    torch.testing.assert_close(views, want, atol=5e-3, rtol=0)
    image = torch.rand(1, 3, 32, 32).repeat(3, 1, 1, 1)
    for looks in ((), (MOCO,), BYOL):
        assert len(two_views(image, *looks).flatten(1).unique(dim=0)) == 6


def test_the_second_look_is_the_second_half_s(tiny: Dataset) -> None:
    """With two looks, the first N views have the first and the others the second."""
    images = tiny.train.images[:3]
    light, dark = Augmentation(solarise=0.0), Augmentation(solarise=1.0)
    torch.manual_seed(0)
    views = two_views(images, light, dark)
    torch.manual_seed(0)
    assert torch.equal(views[:3], random_view(images, light))
    assert torch.equal(views[3:], random_view(images, dark))
    assert views[3:].max() <= 0.5


def test_blur_is_left_out_below_64_pixels(tiny: Dataset) -> None:
    """As on CIFAR: at 32 pixels ``blur`` changes nothing, at 64 it does."""
    small = tiny.train.images[:4]
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    for images, same in ((small, True), (large, False)):
        seen = []
        for blur in (0.0, 1.0):
            torch.manual_seed(0)
            seen.append(random_view(images, replace(SIMCLR, blur=blur)))
        assert torch.equal(*seen) is same


def test_looks_are_the_papers() -> None:
    """SimCLR's on CIFAR, MoCo v2's crop, BYOL's two of different blur and solarisation, VICReg's one of both."""
    assert Augmentation(crop=0.08, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.8, grey=0.2) == SIMCLR
    assert replace(SIMCLR, crop=0.2) == MOCO
    assert [(look.saturation, look.blur, look.solarise) for look in BYOL] == [(0.2, 1.0, 0.0), (0.2, 0.1, 0.2)]
    assert (_views.VICREG.saturation, _views.VICREG.blur, _views.VICREG.solarise) == (0.2, 0.5, 0.1)


def test_a_paler_look_has_a_share_of_the_jitter() -> None:
    """Brightness, contrast, saturation and hue are scaled, and nothing else."""
    assert weaker_jitter(SWAV, 1) == SWAV == Augmentation(crop=0.14, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
    assert weaker_jitter(SWAV, 0.5) == Augmentation(crop=0.14, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_small_crops_show_little(size: int) -> None:
    """So many of each image, 3 / 7 of the side, of at most the area that a large crop shows at least."""
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
    """Captions hold the cosine of the twins and the second view's rank; the last panel is the nearest other image's."""
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
