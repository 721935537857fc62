"""BYOL: the regression on the teacher's projections in both directions, and the teacher's updates."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._momentum import cosine_momentum
from sslbench.methods._views import two_views
from sslbench.methods.byol import BYOL

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> BYOL:
    torch.manual_seed(0)
    return BYOL(ConvNet(32, width=4), TRAIN_INFO, **{"hidden": 6, "dim": 5} | settings)


def make_batch(data: Dataset, N: int = 4) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


def cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is 2 - 2 cos(student's prediction from one view, teacher's projection of the other), over both directions."""
    method = make_method().eval()
    for parameter in method.teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # another network than the student
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(make_batch(tiny))
    torch.manual_seed(1)
    views = two_views(images, *method.augmentations).unsqueeze(1)
    total = 0.0
    for n in range(4):
        for one, other in ((n, n + 4), (n + 4, n)):
            prediction = method.predictor(method.student(views[one]))[0].tolist()
            target = method.teacher(views[other])[0].tolist()
            total += 2 - 2 * cosine(prediction, target)
    assert loss.item() == pytest.approx(total / 4, abs=1e-3)


def test_the_teacher_starts_as_the_student_and_learns_nothing(tiny: Dataset) -> None:
    """The teacher is a copy without gradients; encoder, projector and predictor get gradients."""
    method = make_method()
    for mine, theirs in zip(method.student.parameters(), method.teacher.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    method.loss(make_batch(tiny)).backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert all(p.grad is not None for p in (*method.student.parameters(), *method.predictor.parameters()))


def test_the_momentum_rises_to_one() -> None:
    """tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2 is tau_base at the start and 1 at the end."""
    assert cosine_momentum(0.996, 0.0) == pytest.approx(0.996)
    assert cosine_momentum(0.9, 0.5) == pytest.approx(0.95)
    assert cosine_momentum(0.9, 0.25) == pytest.approx(1 - 0.1 * (math.sqrt(0.5) + 1) / 2)
    assert cosine_momentum(0.9, 1.0) == 1


def test_a_step_moves_the_teacher() -> None:
    """The teacher moves by the fraction 1 - tau, and not at all at the end; the student stays."""
    method = make_method(momentum=0.6)
    student, teacher = next(method.student.parameters()), next(method.teacher.parameters())
    with torch.no_grad():
        student += 1
    before, aim = teacher.clone(), student.clone()
    method.after_step(0.5)
    torch.testing.assert_close(teacher, 0.8 * before + 0.2 * aim)
    now = teacher.clone()
    method.after_step(1.0)
    assert torch.equal(teacher, now)
    assert torch.equal(student, aim)


def test_a_last_norm_removes_the_shared_mean(tiny: Dataset) -> None:
    """The paper's projector ends in a linear layer; with ``norm_last`` the mean of all projections is zero."""
    views = two_views(tiny.train.images[:8])
    for norm_last in (False, True):
        method = make_method(norm_last=norm_last)
        _, targets, z = method.predict_other_views(views)
        for values in (targets[:8], targets[8:], z[:8], z[8:]):
            assert torch.allclose(values.mean(0), torch.zeros(5), atol=1e-4) is norm_last


def test_each_view_has_its_own_batch_statistics(tiny: Dataset) -> None:
    """In training, the outputs for first views do not depend on the second views."""
    method = make_method()
    views = two_views(tiny.train.images[:8])
    predictions, targets, z = method.predict_other_views(views)
    others = method.predict_other_views(torch.cat([views[:8], 1 - views[8:]]))
    torch.testing.assert_close(predictions[:8], others[0][:8])
    torch.testing.assert_close(targets[8:], others[1][8:])
    torch.testing.assert_close(z[:8], others[2][:8])
    assert not torch.allclose(targets[:8], others[1][:8])
