"""MoCo: InfoNCE against the queue, batch norm in shuffled groups, and the updates after a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import to_float
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import moco
from sslbench.methods._dictionary import info_nce_logits
from sslbench.methods.moco import MoCo, moco_views

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: bool | float) -> MoCo:
    torch.manual_seed(0)
    return MoCo(ConvNet(32, width=4), TRAIN_INFO, **{"negatives": 6, "dim": 5, "groups": 2} | settings)  # type: ignore[arg-type]


def make_batch(data: Dataset, N: int = 8) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


def info_nce(q: list[list[float]], k: list[list[float]], queue: list[list[float]], temperature: float) -> float:
    """Equation 1, averaged over the queries: -log e^(q.k+ / t) / (e^(q.k+ / t) + sum over the queue of e^(q.k / t))."""
    total = 0.0
    for query, key in zip(q, k, strict=True):
        positive = math.exp(sum(a * b for a, b in zip(query, key, strict=True)) / temperature)
        negatives = [math.exp(sum(a * b for a, b in zip(query, other, strict=True)) / temperature) for other in queue]
        total -= math.log(positive / (positive + sum(negatives)))
    return total / len(q)


def test_info_nce_matches_a_loop() -> None:
    """Cross-entropy of the logits with target 0 is the paper's equation 1."""
    q, k, queue = (F.normalize(torch.randn(n, 3), dim=1) for n in (4, 4, 5))
    logits = info_nce_logits(q, k, queue, 0.2)
    assert logits.shape == (4, 6)
    loss = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long))
    assert loss.item() == pytest.approx(info_nce(q.tolist(), k.tolist(), queue.tolist(), 0.2), abs=1e-5)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """Unit queries of one view are contrasted with unit keys of another view, and with the queue before its update."""
    method = make_method(temperature=0.3).eval()
    for parameter in method.key.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # another network than the query encoder
    torch.manual_seed(1)
    loss = method.loss(make_batch(tiny, 4))
    torch.manual_seed(1)
    first = moco_views(tiny.train.images[:4])
    second = moco_views(tiny.train.images[:4])
    q = [F.normalize(method.query(view.unsqueeze(0)), dim=1)[0].tolist() for view in first]
    k = [F.normalize(method.key(view.unsqueeze(0)), dim=1)[0].tolist() for view in second]
    assert loss.item() == pytest.approx(info_nce(q, k, method.queue.keys.tolist(), 0.3), abs=1e-3)
    torch.testing.assert_close(method.newest, torch.tensor(k), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shuffle_bn", [True, False])
def test_shuffling_changes_which_images_share_statistics(shuffle_bn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Query and key encoder get the same groups of images without ``shuffle_bn``, and different ones with it."""
    monkeypatch.setattr(moco, "moco_views", to_float)
    method = make_method(shuffle_bn=shuffle_bn)
    seen: dict[str, list[list[int]]] = {"query": [], "key": []}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        return lambda _, inputs: seen[name].append((inputs[0][:, 0, 0, 0] * 255 / 30).round().int().tolist())

    method.query.register_forward_pre_hook(record("query"))
    method.key.register_forward_pre_hook(record("key"))
    images = (torch.arange(8, dtype=torch.uint8) * 30).view(8, 1, 1, 1).expand(8, 3, 32, 32)
    torch.manual_seed(0)
    method.loss(Batch(images=images, indices=torch.arange(8)))
    assert seen["query"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert sorted(chain.from_iterable(seen["key"])) == list(range(8))
    assert (set(map(frozenset, seen["key"])) != set(map(frozenset, seen["query"]))) is shuffle_bn


def test_no_gradient_reaches_keys_or_queue(tiny: Dataset) -> None:
    """Only the query encoder gets gradients; the key encoder starts as its copy."""
    method = make_method()
    for mine, theirs in zip(method.query.parameters(), method.key.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    method.loss(make_batch(tiny)).backward()
    assert all(p.grad is not None for p in method.query.parameters())
    assert all(p.grad is None and not p.requires_grad for p in method.key.parameters())
    assert not method.queue.keys.requires_grad
    assert not method.newest.requires_grad


def test_after_a_step_the_keys_are_queued(tiny: Dataset) -> None:
    """The queue gets the batch's keys after the loss, and the key encoder moves towards the query encoder."""
    method = make_method(negatives=16, momentum=0.5)
    before = method.queue.keys.clone()
    method.loss(make_batch(tiny))
    assert torch.equal(method.queue.keys, before)
    first = next(method.query.parameters())
    with torch.no_grad():
        first += 1
    key = next(method.key.parameters()).clone()
    method.after_step(0.1)
    assert torch.equal(method.queue.keys[:8], method.newest)
    assert torch.equal(method.queue.keys[8:], before[8:])
    torch.testing.assert_close(next(method.key.parameters()), (key + first) / 2)
