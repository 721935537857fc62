"""SimSiam: the symmetrised cosine, and the stop-gradient that keeps it from collapsing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import two_views
from sslbench.methods.simsiam import SimSiam

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> SimSiam:
    torch.manual_seed(0)
    return SimSiam(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5, "bottleneck": 3} | settings)


def make_batch(data: Dataset, N: int = 4) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


def cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is D(p1, z2) / 2 + D(p2, z1) / 2, with D minus the cosine, averaged over the batch."""
    method = make_method().eval()
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(make_batch(tiny))
    torch.manual_seed(1)
    z = [method.f(view.unsqueeze(0)) for view in two_views(images, method.augmentation)]
    p = [method.h(row)[0].tolist() for row in z]
    total = 0.0
    for n in range(4):
        total -= cosine(p[n], z[n + 4][0].tolist()) / 2 + cosine(p[n + 4], z[n][0].tolist()) / 2
    assert loss.item() == pytest.approx(total / 4, abs=1e-3)


def gradient(method: SimSiam, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(method.parameters()))])


@pytest.mark.parametrize("stop", [True, False])
def test_no_gradient_flows_into_the_target(stop: bool, tiny: Dataset) -> None:
    """The gradient is that of constant targets only with the stop-gradient; the loss is the same in both cases."""
    method = make_method(stop_gradient=stop)
    torch.manual_seed(1)
    loss = method.loss(make_batch(tiny, 8))
    torch.manual_seed(1)
    views = two_views(tiny.train.images[:8], method.augmentation).chunk(2)
    constants = [z.clone() for z in map(method.f, views)]
    constants = [torch.tensor(z.tolist()) for z in constants]
    p1, p2 = (method.h(method.f(view)) for view in views)
    expected = -(F.cosine_similarity(p1, constants[1]).mean() + F.cosine_similarity(p2, constants[0]).mean()) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    same = torch.allclose(gradient(method, loss), gradient(method, expected), atol=1e-5)
    assert same is stop


def test_the_heads_are_the_paper_s() -> None:
    """The projector ends in a batch norm, the predictor in a linear layer after a bottleneck."""
    method = SimSiam(ConvNet(32, width=4), TRAIN_INFO)
    projector = method.f[1]
    assert isinstance(projector, nn.Sequential)
    assert [layer.out_features for layer in projector if isinstance(layer, nn.Linear)] == [2048, 2048, 2048]
    assert isinstance(projector[-1], nn.BatchNorm1d)
    assert [layer.out_features for layer in method.h if isinstance(layer, nn.Linear)] == [512, 2048]
    assert isinstance(method.h[-1], nn.Linear)
    two = make_method(layers=2).f[1]
    assert isinstance(two, nn.Sequential)
    assert len([layer for layer in two if isinstance(layer, nn.Linear)]) == 2


def test_spread_shows_a_collapse(tiny: Dataset) -> None:
    """If all images have the same projection, the spread is 0, although the loss is at its minimum."""
    method = make_method().eval()
    normalised = method.f[1][-1]  # type: ignore[index]
    normalised.running_mean.fill_(-1e6)
    torch.nn.init.zeros_(method.h[-1].weight)  # type: ignore[arg-type]
    torch.nn.init.ones_(method.h[-1].bias)  # type: ignore[arg-type]
    assert method.loss(make_batch(tiny)).item() == pytest.approx(-1, abs=1e-4)
    assert method.logged["spread"].item() == pytest.approx(0, abs=1e-4)
