"""SwAV: the codes of large views are predicted from all other views."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import SWAV, small_crops, two_views
from sslbench.methods.swav import SwAV
from tests.builders import balanced_assignment

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> SwAV:
    torch.manual_seed(0)
    return SwAV(ConvNet(32, width=4), TRAIN_INFO, **{"prototypes": 5, "small": 3, "hidden": 6, "dim": 4} | settings)


def make_batch(data: Dataset, start: int = 0, size: int = 4) -> Batch:
    return Batch(images=data.train.images[start : start + size], indices=torch.arange(start, start + size))


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is -sum q log p over large views' codes and all other views, with p the softmax of z . c / t (equation 2)."""
    method, data = make_method(temperature=0.2, epsilon=0.1).eval(), make_batch(tiny)
    torch.manual_seed(1)
    loss = method.loss(data)
    torch.manual_seed(1)
    views = [*two_views(data.images, SWAV), *small_crops(data.images, SWAV, 3)]
    assert [view.shape[-1] for view in views] == [32] * 8 + [14] * 12
    scores = []
    for view in views:
        z = F.normalize(method.head(method.encoder(view.unsqueeze(0))), dim=1)[0]
        scores.append([F.cosine_similarity(z, c, dim=0).item() for c in method.prototypes.weight])
    total = 0.0
    for t in range(2):
        for n, q in enumerate(balanced_assignment(scores[4 * t : 4 * t + 4], 0.1, 3)):
            for v in range(5):
                if v != t:
                    exps = [math.exp(score / 0.2) for score in scores[4 * v + n]]
                    total -= sum(share * math.log(e / sum(exps)) for share, e in zip(q, exps, strict=True))
    assert loss.item() == pytest.approx(total / (4 * 2 * 4), rel=1e-3)


def test_codes_have_no_gradient(tiny: Dataset) -> None:
    """The gradient of the loss is that for constant codes."""
    method, data = make_method(small=0, frozen=0.0).eval(), make_batch(tiny)
    torch.manual_seed(1)
    method.loss(data).backward()
    found = method.prototypes.weight.grad
    torch.manual_seed(1)
    z = method.embed(two_views(data.images, SWAV))
    codes, scores = method.codes(z.detach(), method.prototypes), method.prototypes(z).view(2, 4, 5)
    want = -sum((codes[t] * (scores[1 - t] / 0.1).log_softmax(1)).sum() for t in range(2)) / 8
    torch.testing.assert_close(found, torch.autograd.grad(want, method.prototypes.weight)[0], atol=1e-5, rtol=1e-3)


def test_the_queue_is_filled_late(tiny: Dataset) -> None:
    """From epoch ``queue_from`` on, both large views of an image are pushed into it as one entry."""
    method = make_method(queue=8, queue_from=0.25, dim=4)
    pushed = []
    for step in range(6):
        method.loss(make_batch(tiny, 8 * step, 8))
        method.after_step(0.1)
        pushed.append(method.codes.pushed)
    assert pushed == [0, 0, 8, 16, 24, 32]
    assert method.codes.queue is not None
    torch.testing.assert_close(method.codes.queue.keys, torch.cat(method.newest.chunk(2), dim=1))


def test_small_crops_are_counted_by_their_pixels() -> None:
    """An image costs two large views, and three small ones with 14 of 32 pixels, or none with ``small=0``."""
    method = make_method()
    assert method.view_size == 14
    assert method.views_per_image == pytest.approx(2 + 3 * (14 / 32) ** 2)
    assert (make_method(small=0).view_size, make_method(small=0).views_per_image) == (32, 2)
