"""MoCo v3: prediction of keys within the batch in both directions, and a rising momentum."""

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
from sslbench.methods._momentum import cosine_momentum
from sslbench.methods._views import two_views
from sslbench.methods.mocov3 import AUGMENTATIONS, MoCoV3

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> MoCoV3:
    torch.manual_seed(0)
    return MoCoV3(ConvNet(32, width=4), TRAIN_INFO, **{"hidden": 6, "dim": 5} | settings)


def ctr(q: list[list[float]], k: list[list[float]], temperature: float) -> float:
    """Algorithm 1: 2 tau times the cross-entropy of each query's own key among all keys."""
    total = 0.0
    for n, query in enumerate(q):
        exps = [math.exp(sum(a * b for a, b in zip(query, key, strict=True)) / temperature) for key in k]
        total -= math.log(exps[n] / sum(exps))
    return 2 * temperature * total / len(q)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """Predictions from each view are contrasted with the other view's keys; keys have no predictor and no gradient."""
    method = make_method(temperature=0.3).eval()
    for parameter in method.key.parameters():
        nn.init.normal_(parameter, std=0.2)  # another network than the query encoder
    images = tiny.train.images[:3]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(3)))
    torch.manual_seed(1)
    views = two_views(images, *AUGMENTATIONS)
    q = [F.normalize(method.predictor(method.query(one.unsqueeze(0))), dim=1)[0].tolist() for one in views]
    k = [F.normalize(method.key(one.unsqueeze(0)), dim=1)[0].tolist() for one in views]
    assert loss.item() == pytest.approx(ctr(q[:3], k[3:], 0.3) + ctr(q[3:], k[:3], 0.3), rel=1e-3)
    loss.backward()
    assert all(p.grad is None for p in method.key.parameters())
    assert all(p.grad is not None for p in method.predictor.parameters())


def test_fewer_negatives_make_the_task_easier(tiny: Dataset) -> None:
    """If all keys are equal, the loss is 4 tau log 2 with one negative, and 4 tau log N with all N images."""
    for negatives, candidates in ((None, 8), (1, 2), (3, 4)):
        method = make_method(negatives=negatives, temperature=0.5)
        with torch.no_grad():
            method.key[0].stages["conv1"][0].weight.zero_()  # the same key for all
        loss = method.loss(Batch(images=tiny.train.images[:8], indices=torch.arange(8)))
        assert loss.item() == pytest.approx(4 * 0.5 * math.log(candidates), rel=1e-3)
        assert method.logged["bound"].item() == pytest.approx(0, abs=1e-3)


def test_first_and_second_views_have_separate_statistics(tiny: Dataset) -> None:
    """First and second views are encoded one after the other, so no batch norm gets both."""
    method, seen = make_method(), []
    for network in (method.query, method.predictor, method.key):
        network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    method.loss(Batch(images=tiny.train.images[:8], indices=torch.arange(8)))
    assert seen == [8] * 6


def test_the_momentum_rises_along_a_cosine(tiny: Dataset) -> None:
    """It rises from ``momentum`` to 1, at which the key encoder no longer changes."""
    assert [cosine_momentum(0.9, progress) for progress in (0, 0.5, 1)] == pytest.approx([0.9, 0.95, 1.0])
    method = make_method(momentum=0.5)
    with torch.no_grad():
        for parameter in method.query.parameters():
            parameter += 1
    start = next(method.key.parameters()).clone()
    method.after_step(1.0)
    assert torch.equal(next(method.key.parameters()), start)
    method.after_step(0.5)
    torch.testing.assert_close(next(method.key.parameters()), start + 0.25)


def test_heads_are_those_of_the_authors() -> None:
    """Each has two linear layers, a batch norm before the ReLU, and one without weights at the end."""
    method = make_method()
    for head in (method.query[1], method.predictor):
        assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
        assert not head[-1].affine
