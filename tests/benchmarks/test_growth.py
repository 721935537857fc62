"""Cost grows linearly with the images: the protocols of the main command on 10,000, 20,000 and 50,000 of them."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.evaluation.probes import knn_predictions, linear_probe

pytestmark = pytest.mark.slow

CLASSES, DIM = 10, 512


@pytest.fixture(scope="module")
def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Features (50000, 512) of overlapping classes, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(50_000) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=generator)
    return centres[labels] + 4 * torch.randn(50_000, DIM, generator=generator), labels


@pytest.mark.parametrize("images", [10_000, 20_000, 50_000])
@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_growth(benchmark, features, probe, images):
    """More and more train images, with 2,000 test images."""
    benchmark.group = f"growth with the images, {probe}"
    X, y = features[0][:images], features[1][:images]
    test = features[0][-2000:]
    call = {
        "linear": lambda: linear_probe(X, y, test, CLASSES, strengths=(1e-3, 1e-2, 1e-1)),
        "knn": lambda: knn_predictions(X, y, test, CLASSES, k=(200,), temperature=(0.07,)),
    }[probe]
    benchmark.pedantic(call, rounds=3, warmup_rounds=1)
