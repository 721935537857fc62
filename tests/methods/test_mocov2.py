"""MoCo v2: the projection head, its views, and InfoNCE through them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import mocov2
from sslbench.methods._views import MOCO, Augmentation, random_view
from sslbench.methods.mocov2 import MoCoV2

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> MoCoV2:
    torch.manual_seed(0)
    return MoCoV2(ConvNet(32, width=4), TRAIN_INFO, **{"negatives": 6, "dim": 5, "groups": 2} | settings)


def test_the_head_has_a_hidden_layer() -> None:
    """It maps the embedding to a layer of the same width with ReLU, and then to the projection, without batch norm."""
    method = make_method()
    hidden, relu, last = method.query[1]
    assert isinstance(relu, nn.ReLU)
    assert (hidden.in_features, hidden.out_features) == (method.encoder.dim,) * 2
    assert (last.in_features, last.out_features) == (method.encoder.dim, 5)
    assert hidden.bias is not None
    assert last.bias is not None


def test_views_use_the_paper_s_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops show at least a fifth of the area, hues change less than in MoCo, and half of the views are blurred."""
    seen: list[Augmentation] = []
    monkeypatch.setattr(mocov2, "random_view", lambda images, augmentation: (seen.append(augmentation), images)[1])
    make_method().draw_views(torch.zeros(2, 3, 32, 32))
    assert seen == [MOCO]
    assert (MOCO.crop, MOCO.hue, MOCO.jitter, MOCO.grey, MOCO.blur, MOCO.solarise) == (0.2, 0.1, 0.8, 0.2, 0.5, 0.0)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is -log of the softmax of the query's own key among this key and the queue (equation 1 of MoCo)."""
    method = make_method(temperature=0.3).eval()
    for parameter in method.key.parameters():
        nn.init.normal_(parameter, std=0.2)  # another network than the query encoder
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(4)))
    torch.manual_seed(1)
    first, second = random_view(images, MOCO), random_view(images, MOCO)
    total, right = 0.0, 0
    for one, other in zip(first, second, strict=True):
        q = F.normalize(method.query(one.unsqueeze(0)), dim=1)[0].tolist()
        k = F.normalize(method.key(other.unsqueeze(0)), dim=1)[0].tolist()
        scores = [sum(a * b for a, b in zip(q, key, strict=True)) / 0.3 for key in [k, *method.queue.keys.tolist()]]
        total -= math.log(math.exp(scores[0]) / sum(map(math.exp, scores)))
        right += scores[0] == max(scores)
    assert loss.item() == pytest.approx(total / 4, rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(right / 4)
    assert method.logged["bound"].item() == pytest.approx(math.log(7) - total / 4, abs=1e-2)


def test_after_a_step_queue_and_key_encoder_are_updated(tiny: Dataset) -> None:
    """The queue gets the batch's keys, and each weight of the key encoder moves towards the query encoder's."""
    method = make_method(negatives=16, momentum=0.5)
    before = method.queue.keys.clone()
    method.loss(Batch(images=tiny.train.images[:8], indices=torch.arange(8)))
    with torch.no_grad():
        for parameter in method.query.parameters():
            parameter += 1
    want = [(k + q) / 2 for k, q in zip(method.key.parameters(), method.query.parameters(), strict=True)]
    method.after_step(0.1)
    assert torch.equal(method.queue.keys[:8], method.newest)
    assert torch.equal(method.queue.keys[8:], before[8:])
    for parameter, value in zip(method.key.parameters(), want, strict=True):
        torch.testing.assert_close(parameter, value)
        assert not parameter.requires_grad
