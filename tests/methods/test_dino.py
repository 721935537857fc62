"""DINO: the teacher's centred and sharpened assignments, predicted from all other views."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import BYOL, small_crops, two_views
from sslbench.methods.dino import DINO

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)
LARGE, OTHER = (replace(augmentation, crop=0.4) for augmentation in BYOL)


def make_method(**settings: Any) -> DINO:
    torch.manual_seed(0)
    method = DINO(ConvNet(32, width=4), TRAIN_INFO, **{"prototypes": 5, "small": 3, "hidden": 6, "dim": 4} | settings)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter += 0.2 * torch.randn_like(parameter)  # another network than the student
    return method


def make_batch(data: Dataset) -> Batch:
    return Batch(images=data.train.images[:4], indices=torch.arange(4))


def softmax_scores(network: nn.Module, view: Tensor, centre: list[float], temperature: float) -> list[float]:
    """The softmax of (cosine - centre) / temperature for one view."""
    embed, prototypes = network.children()
    z = embed(view.unsqueeze(0))[0]
    cosines = [F.cosine_similarity(z, weight, dim=0).item() for weight in prototypes.weight]
    exps = [math.exp((score - c) / temperature) for score, c in zip(cosines, centre, strict=True)]
    return [e / sum(exps) for e in exps]


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """-sum P_t log P_s over the teacher's two large views and all other views of the student (equation 3)."""
    method, data = make_method(temperature=0.2, teacher_temperature=0.1).eval(), make_batch(tiny)
    method.centre.copy_(centre := torch.tensor([0.3, -0.1, 0.0, 0.2, -0.4]))
    torch.manual_seed(1)
    loss = method.loss(data)
    torch.manual_seed(1)
    views = [*two_views(data.images, LARGE, OTHER), *small_crops(data.images, replace(LARGE, blur=0.5), 3)]
    assert [view.shape[-1] for view in views] == [32] * 8 + [14] * 12
    total, entropy = 0.0, 0.0
    for t in range(2):
        for n in range(4):
            target = softmax_scores(method.teacher, views[4 * t + n], centre.tolist(), 0.1)
            entropy -= sum(p * math.log(p) for p in target) / 8
            for v in range(5):
                if v != t:
                    predicted = softmax_scores(method.student, views[4 * v + n], [0.0] * 5, 0.2)
                    total -= sum(p * math.log(s) for p, s in zip(target, predicted, strict=True))
    assert loss.item() == pytest.approx(total / (4 * 2 * 4), rel=1e-3)
    assert method.logged["entropy"].item() == pytest.approx(entropy, rel=1e-3)


def test_the_centre_follows_the_scores(tiny: Dataset) -> None:
    """c <- m c + (1 - m) times the mean of the batch's scores, after the step and not before (equation 4)."""
    method, data = make_method(centring=0.7).eval(), make_batch(tiny)
    method.centre.fill_(0.5)
    torch.manual_seed(1)
    method.loss(data)
    assert torch.equal(method.centre, torch.full((5,), 0.5))
    torch.manual_seed(1)
    scores = method.teacher(two_views(data.images, LARGE, OTHER))
    method.after_step(0.1)
    torch.testing.assert_close(method.centre, 0.7 * 0.5 + 0.3 * scores.mean(0))


def test_only_the_student_learns(tiny: Dataset) -> None:
    """The teacher gets no gradient and moves after the step by its momentum; the prototypes stay fixed at first."""
    method, data = make_method(momentum=0.9, frozen=0.06), make_batch(tiny)
    teacher = [p.clone() for p in method.teacher.parameters()]
    for prototypes_learn in (False, True):
        method.zero_grad()
        method.loss(data).backward()
        assert all(p.grad is None for p in method.teacher.parameters())
        assert all(p.grad is not None for p in method.encoder.parameters())
        assert (method.student[1].weight.grad is not None) is prototypes_learn
        method.after_step(0.0)
    for after, before, student in zip(method.teacher.parameters(), teacher, method.student.parameters(), strict=True):
        torch.testing.assert_close(after, 0.81 * before + 0.19 * student)


def test_small_crops_count_by_their_pixels() -> None:
    """The cost is two large views and three small ones of 14 / 32 of the side; the teacher's are not counted."""
    method = make_method()
    assert method.view_size == 14
    assert method.views_per_image == pytest.approx(2 + 3 * (14 / 32) ** 2)
    assert (make_method(small=0).view_size, make_method(small=0).views_per_image) == (32, 2)
