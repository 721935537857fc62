"""How fast two views of each image are drawn, beside torchvision image by image and kornia on a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.images.augment import to_float
from sslbench.methods._views import SIMCLR, two_views

pytestmark = pytest.mark.slow

IMAGES = 256
LOOK = {"scale": (SIMCLR.crop, 1.0), "ratio": (3 / 4, 4 / 3)}
JITTER = (SIMCLR.brightness, SIMCLR.contrast, SIMCLR.saturation, SIMCLR.hue)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """uint8 (256, 3, 32, 32)."""
    return Synthetic(train=IMAGES, test=20).load(frozenset()).train.images


@pytest.mark.benchmark(group="two views of 256 images of 32 pixels")
class TestTwoViews:
    """Crop, mirror, colour jitter and grey, drawn for each image, by three libraries."""

    def test_ours(self, benchmark: Any, images: Tensor) -> None:
        """Batched."""
        timed(benchmark, lambda: two_views(images))

    def test_torchvision_image_by_image(self, benchmark: Any, images: Tensor) -> None:
        """torchvision v2, whose draws are one for all images of a call."""
        from torchvision.transforms import v2

        view = v2.Compose(
            [
                v2.RandomResizedCrop(32, antialias=True, **LOOK),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(*JITTER)], SIMCLR.jitter),
                v2.RandomGrayscale(SIMCLR.grey),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        timed(benchmark, lambda: torch.stack([view(image) for image in images for _ in range(2)]))

    def test_kornia_batched(self, benchmark: Any, images: Tensor) -> None:
        """kornia, which draws for each image of a batch."""
        kornia = pytest.importorskip("kornia.augmentation")
        view = nn.Sequential(
            kornia.RandomResizedCrop((32, 32), **LOOK),
            kornia.RandomHorizontalFlip(),
            kornia.ColorJitter(*JITTER, p=SIMCLR.jitter),
            kornia.RandomGrayscale(p=SIMCLR.grey),
        )
        timed(benchmark, lambda: view(to_float(torch.cat([images, images]))))


def timed(benchmark: Any, call: Callable[[], Tensor]) -> None:
    """Five rounds, after one whose views are looked at."""
    views = benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    assert views.shape == (2 * IMAGES, 3, 32, 32)
