"""Speed of two views per image, compared to torchvision image by image and to kornia on a batch."""

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
CROP = {"scale": (SIMCLR.crop, 1.0), "ratio": (3 / 4, 4 / 3)}
JITTER = (SIMCLR.brightness, SIMCLR.contrast, SIMCLR.saturation, SIMCLR.hue)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """uint8 (256, 3, 32, 32)."""
    return Synthetic(train=IMAGES, test=20).load(frozenset()).train.images


@pytest.mark.benchmark(group="two views of 256 images of 32 pixels")
class TestTwoViews:
    """Crop, flip, colour jitter and greyscale with random parameters per image, by three libraries."""

    def test_ours(self, benchmark: Any, images: Tensor) -> None:
        """Ours, on the batch."""
        measure(benchmark, lambda: two_views(images))

    def test_torchvision_image_by_image(self, benchmark: Any, images: Tensor) -> None:
        """torchvision v2, which draws one set of parameters per call."""
        from torchvision.transforms import v2

        view = v2.Compose(
            [
                v2.RandomResizedCrop(32, antialias=True, **CROP),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(*JITTER)], SIMCLR.jitter),
                v2.RandomGrayscale(SIMCLR.grey),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        measure(benchmark, lambda: torch.stack([view(image) for image in images for _ in range(2)]))

    def test_kornia_batched(self, benchmark: Any, images: Tensor) -> None:
        """kornia, which draws parameters for each image of a batch."""
        kornia = pytest.importorskip("kornia.augmentation")
        view = nn.Sequential(
            kornia.RandomResizedCrop((32, 32), **CROP),
            kornia.RandomHorizontalFlip(),
            kornia.ColorJitter(*JITTER, p=SIMCLR.jitter),
            kornia.RandomGrayscale(p=SIMCLR.grey),
        )
        measure(benchmark, lambda: view(to_float(torch.cat([images, images]))))


def measure(benchmark: Any, call: Callable[[], Tensor]) -> None:
    """Measures five rounds, and checks the shape of the views."""
    views = benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    assert views.shape == (2 * IMAGES, 3, 32, 32)
