"""Instance discrimination: noise-contrastive estimation, the full softmax, and the proximal term."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods.instdisc import InstDisc, draw_views, nce_loss

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> InstDisc:
    torch.manual_seed(0)
    return InstDisc(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5, "temperature": 0.5} | settings).eval()


def make_batch(data: Dataset, *places: int) -> Batch:
    return Batch(images=data.train.images[list(places)], indices=torch.tensor(places))


def embed_separately(method: InstDisc, images: Tensor) -> list[list[float]]:
    """The embedding of each view, computed separately."""
    views = draw_views(images)
    return [F.normalize(method.head(method.encoder(one.unsqueeze(0))), dim=1)[0].tolist() for one in views]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_nce_matches_a_loop() -> None:
    """-log h(i, v) - sum of log(1 - h(i, v')), with h = P / (P + m / n) (equations 6 and 7)."""
    torch.manual_seed(0)
    images, m = 11, 3
    log_p = torch.randn(2, 1 + m) - 2
    total = 0.0
    for row in log_p.tolist():
        h = [math.exp(x) / (math.exp(x) + m / images) for x in row]
        total -= math.log(h[0]) + sum(math.log(1 - other) for other in h[1:])
    assert nce_loss(log_p, images).item() == pytest.approx(total / 2, rel=1e-5)


def test_guessing_has_the_chance_level() -> None:
    """If all images are equally likely, NCE is log(1 + m) + m log(1 + 1 / m)."""
    chance = math.log(1 + 7) + 7 * math.log(1 + 1 / 7)
    assert nce_loss(torch.full((2, 8), -math.log(50)), 50).item() == pytest.approx(chance, rel=1e-5)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """NCE of each view with its image's vector and m draws, Z from this first batch, and lambda |f - v|^2."""
    method, data = make_method(negatives=4, proximal=3.0), make_batch(tiny, 5, 9, 2)
    torch.manual_seed(1)
    loss = method.loss(data)
    torch.manual_seed(1)
    f = embed_separately(method, data.images)
    drawn = torch.randint(64, (3, 4)).tolist()
    bank = method.bank.vectors.tolist()
    exps = [
        [math.exp(dot(bank[place], one) / 0.5) for place in (own, *noise)]
        for one, own, noise in zip(f, (5, 9, 2), drawn, strict=True)
    ]
    Z = 64 * sum(sum(row[1:]) for row in exps) / (3 * 4)
    want = 0.0
    for one, own, row in zip(f, (5, 9, 2), exps, strict=True):
        h = [e / Z / (e / Z + 4 / 64) for e in row]
        want -= math.log(h[0]) + sum(math.log(1 - other) for other in h[1:])
        want += 3.0 * sum((a - b) ** 2 for a, b in zip(one, bank[own], strict=True))
    assert method.Z.item() == pytest.approx(Z, rel=1e-3)
    assert loss.item() == pytest.approx(want / 3, rel=1e-3)


def test_the_full_softmax_matches_a_loop(tiny: Dataset) -> None:
    """With ``negatives=None`` every image of the data is a class (equation 2), and lambda |f - v|^2 is added."""
    method, data = make_method(negatives=None, proximal=3.0), make_batch(tiny, 5, 9, 2)
    torch.manual_seed(1)
    loss = method.loss(data)
    torch.manual_seed(1)
    want, moved, bank = 0.0, 0.0, method.bank.vectors.tolist()
    for one, own in zip(embed_separately(method, data.images), (5, 9, 2), strict=True):
        exps = [math.exp(dot(vector, one) / 0.5) for vector in bank]
        want -= math.log(exps[own] / sum(exps))
        moved += sum((a - b) ** 2 for a, b in zip(one, bank[own], strict=True))
    assert loss.item() == pytest.approx((want + 3.0 * moved) / 3, rel=1e-3)
    assert method.logged["bound"].item() == pytest.approx(math.log(64) - want / 3, abs=1e-2)


@pytest.mark.parametrize("negatives", [4, None])
def test_the_first_epoch_only_fills_the_bank(negatives: int | None, tiny: Dataset) -> None:
    """New images send no gradient, not even by the proximal term; the same batch does once it has been seen."""
    method, data = make_method(negatives=negatives, proximal=30.0), make_batch(tiny, 5, 9, 2)
    for learns in (False, True):
        method.zero_grad()
        method.loss(data).backward()
        method.after_step(0.1)
        assert all(p.grad is not None and bool(p.grad.any()) is learns for p in method.head.parameters())


def test_z_is_a_running_mean(tiny: Dataset) -> None:
    """The first batch sets Z; each later batch moves it by a tenth towards its own estimate."""
    method, own = make_method(negatives=4), []
    assert method.Z.item() == 0
    for step, places in enumerate([(0, 1), (2, 3), (4, 5)]):
        data = make_batch(tiny, *places)
        torch.manual_seed(step)
        method.loss(data)
        torch.manual_seed(step)
        f, drawn = embed_separately(method, data.images), torch.randint(64, (2, 4)).tolist()
        bank = method.bank.vectors.tolist()
        exps = [math.exp(dot(bank[k], one) / 0.5) for one, noise in zip(f, drawn, strict=True) for k in noise]
        own.append(64 * sum(exps) / len(exps))
    mean = own[0]
    for one in own[1:]:
        mean = 0.9 * mean + 0.1 * one
    assert len({round(one) for one in own}) > 1
    assert method.Z.item() == pytest.approx(mean, rel=1e-3)


def test_a_step_stores_the_embeddings(tiny: Dataset) -> None:
    """After a step, and not before, the bank has the embeddings of the batch's views."""
    method, data = make_method(negatives=None, momentum=0.0), make_batch(tiny, 7, 3)
    before = method.bank.vectors.clone()
    torch.manual_seed(1)
    method.loss(data)
    assert torch.equal(method.bank.vectors, before)
    method.after_step(0.1)
    torch.manual_seed(1)
    torch.testing.assert_close(
        method.bank.vectors[[7, 3]], torch.tensor(embed_separately(method, data.images)), atol=1e-3, rtol=0
    )
    others = [n for n in range(64) if n not in (7, 3)]
    assert torch.equal(method.bank.vectors[others], before[others])
