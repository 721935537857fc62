"""PIRL: tiles and the whole image are contrasted with the memory bank."""

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
from sslbench.methods import pirl
from sslbench.methods.pirl import PIRL, draw_views, nce

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> PIRL:
    torch.manual_seed(0)
    return PIRL(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5, "temperature": 0.5, "negatives": 4} | settings).eval()


def make_batch(data: Dataset, *places: int) -> Batch:
    return Batch(images=data.train.images[list(places)], indices=torch.tensor(places))


def unit(values: Tensor) -> list[float]:
    return F.normalize(values, dim=0).tolist()


def l_nce(query: list[float], bank: list[list[float]], temperature: float) -> float:
    """-log h of the matching vector, which is first, - sum of log(1 - h) of the others (equations 3 and 4)."""
    exps = [math.exp(sum(a * b for a, b in zip(query, v, strict=True)) / temperature) for v in bank]
    h = [e / sum(exps) for e in exps]
    return -math.log(h[0]) - sum(math.log(1 - other) for other in h[1:])


def test_nce_matches_a_loop() -> None:
    """The loss for several images is the mean of those for each image."""
    torch.manual_seed(0)
    logits = torch.randn(3, 5)
    want = sum(l_nce([1.0], [[x] for x in row], 1.0) for row in logits.tolist()) / 3
    assert nce(logits).item() == pytest.approx(want, rel=1e-5)


def test_equal_candidates_have_the_loss_of_chance() -> None:
    """It is log(1 + m) + m log(1 + 1 / m); a confident error still has a finite gradient."""
    assert nce(torch.zeros(2, 8)).item() == pytest.approx(math.log(8) + 7 * math.log(1 + 1 / 7), rel=1e-5)
    wrong = torch.tensor([[0.0, 500.0]], requires_grad=True)
    nce(wrong).backward()
    assert wrong.grad is not None
    assert wrong.grad.isfinite().all()
    assert wrong.grad[0, 0] < 0 < wrong.grad[0, 1]


@pytest.mark.parametrize(("patches", "negatives"), [(0.0, 4), (0.3, 4), (1.0, 4), (0.3, None)])
def test_the_loss_matches_a_loop(patches: float, negatives: int | None, tiny: Dataset) -> None:
    """lambda L(bank, tiles) + (1 - lambda) L(bank, image), with tiles encoded one by one (equation 5)."""
    method, data = make_method(patches=patches, negatives=negatives), make_batch(tiny, 5, 9)
    torch.manual_seed(1)
    loss = method.loss(data)
    torch.manual_seed(1)
    views, tiles = draw_views(data.images), method.draw_tiles(data.images)
    steps = torch.randint(1, 64, (2, 4)).tolist() if negatives else [range(1, 64)] * 2
    bank, want = method.bank.vectors.tolist(), 0.0
    for n, own in enumerate((5, 9)):
        f = unit(method.f(method.encoder(views[n : n + 1]))[0])
        candidates = [bank[own]] + [bank[(own + step) % 64] for step in steps[n]]
        each = [method.each(method.encoder(tiles[n, t : t + 1]))[0] for t in range(9)]
        g = unit(method.together(torch.cat(each)))
        want += patches * l_nce(g, candidates, 0.5) + (1 - patches) * l_nce(f, candidates, 0.5)
    assert loss.item() == pytest.approx(want / 2, rel=1e-3)


def test_the_first_epoch_only_fills_the_bank(tiny: Dataset) -> None:
    """A batch of new images gives no gradient to any head; the same batch does the second time."""
    method, data = make_method(), make_batch(tiny, 5, 9, 2)
    for learns in (False, True):
        method.zero_grad()
        method.loss(data).backward()
        method.after_step(0.1)
        heads = [*method.f.parameters(), *method.each.parameters(), *method.together.parameters()]
        assert all(p.grad is not None and bool(p.grad.any()) is learns for p in heads)


def test_tiles_are_shuffled_and_augmented_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    """All nine tiles of an image are used, in a random order per image, and each gets its own colour jitter."""
    monkeypatch.setattr(pirl.augment, "random_resized_crops", lambda images, **_: images)
    monkeypatch.setattr(pirl.augment, "random_flip", lambda images: images)
    seen: list[Tensor] = []
    monkeypatch.setattr(pirl.augment, "colour_jitter", lambda tiles, **_: seen.append(tiles) or tiles)  # type: ignore[func-returns-value]
    method = make_method(gap=0.0)
    cells = torch.arange(9).view(3, 3).repeat_interleave(10, 0).repeat_interleave(10, 1)
    images = F.pad(cells, (0, 2, 0, 2)).expand(4, 3, 32, 32)
    tiles = method.draw_tiles(images)
    assert tiles.shape == (4, 9, 3, 10, 10)
    assert seen[0].shape == (36, 3, 10, 10)
    orders = tiles[:, :, 0, 0, 0]
    assert torch.equal(tiles, orders.view(4, 9, 1, 1, 1).expand_as(tiles))
    assert torch.equal(orders.sort(1).values, torch.arange(9).expand(4, 9))
    assert len(orders.unique(dim=0)) > 1


def test_the_bank_holds_embeddings_of_whole_images(tiny: Dataset) -> None:
    """After a step the vectors of the batch's images are f of their views."""
    method, data = make_method(momentum=0.0), make_batch(tiny, 7, 3)
    torch.manual_seed(1)
    method.loss(data)
    method.after_step(0.1)
    torch.manual_seed(1)
    torch.testing.assert_close(method.bank.vectors[[7, 3]], method.embed(draw_views(data.images)), atol=1e-4, rtol=0)


def test_tiles_are_counted_by_their_pixels() -> None:
    """An image costs one whole view and nine tiles, whose sides are a quarter of the image's."""
    method = make_method()
    assert method.view_size == 8
    assert method.views_per_image == pytest.approx(1 + 9 / 16)
