"""SwAV: codes of the large views, told from all others."""

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

FACTS = TrainInfo(num_images=64, num_classes=10, image_size=32)


def small(**settings: Any) -> SwAV:
    torch.manual_seed(0)
    return SwAV(ConvNet(32, width=4), FACTS, **{"prototypes": 5, "small": 3, "hidden": 6, "dim": 4} | settings)


def batch(data: Dataset, start: int = 0, size: int = 4) -> Batch:
    return Batch(images=data.train.images[start : start + size], indices=torch.arange(start, start + size))


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """-sum q log p over both large views' codes and all other views, p the softmax of z . c / t (equation 2)."""
    method, data = small(temperature=0.2, epsilon=0.1).eval(), batch(tiny)
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


def test_codes_send_no_gradient(tiny: Dataset) -> None:
    """Without small crops the loss's gradient is that of fixed codes."""
    method, data = small(small=0, frozen=0.0).eval(), batch(tiny)
    torch.manual_seed(1)
    method.loss(data).backward()
    found = method.prototypes.weight.grad
    torch.manual_seed(1)
    z = method.embedded(two_views(data.images, SWAV))
    codes, scores = method.codes(z.detach(), method.prototypes), method.prototypes(z).view(2, 4, 5)
    want = -sum((codes[t] * (scores[1 - t] / 0.1).log_softmax(1)).sum() for t in range(2)) / 8
    torch.testing.assert_close(found, torch.autograd.grad(want, method.prototypes.weight)[0], atol=1e-5, rtol=1e-3)


def test_the_queue_starts_late(tiny: Dataset) -> None:
    """After as many epochs as said large views enter it, both of an image side by side."""
    method = small(queue=8, queue_from=0.25, dim=4)
    held = []
    for step in range(6):
        method.loss(batch(tiny, 8 * step, 8))
        method.after_step(0.1)
        held.append(method.codes.pushed)
    assert held == [0, 0, 8, 16, 24, 32]
    assert method.codes.queue is not None
    torch.testing.assert_close(method.codes.queue.keys, torch.cat(method.newest.chunk(2), dim=1))


def test_small_crops_count_by_their_pixels() -> None:
    """Two large views, and three small ones of 14 / 32 of the side; none where none are asked for."""
    method = small()
    assert method.view_size == 14
    assert method.views_per_image == pytest.approx(2 + 3 * (14 / 32) ** 2)
    assert (small(small=0).view_size, small(small=0).views_per_image) == (32, 2)
