"""MoCo: InfoNCE, the queue, the key encoder that follows, and batch norm in shuffled groups."""

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
from sslbench.methods._momentum import Queue, ema_update, run_in_groups, run_in_shuffled_groups, teacher_of
from sslbench.methods.moco import MoCo, views

FACTS = TrainInfo(num_images=64, num_classes=10, image_size=32)


def small_moco(**settings: bool | float) -> MoCo:
    torch.manual_seed(0)
    return MoCo(ConvNet(32, width=4), FACTS, **{"negatives": 6, "dim": 5, "groups": 2} | settings)  # type: ignore[arg-type]


def batch(data: Dataset, N: int = 8) -> Batch:
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
    """Unit queries of one view against unit keys of another view of the same image, and the queue as it was."""
    method = small_moco(temperature=0.3).eval()
    for parameter in method.key.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # another network than the query encoder
    torch.manual_seed(1)
    loss = method.loss(batch(tiny, 4))
    torch.manual_seed(1)
    first = views(tiny.train.images[:4])
    second = views(tiny.train.images[:4])
    q = [F.normalize(method.query(view.unsqueeze(0)), dim=1)[0].tolist() for view in first]
    k = [F.normalize(method.key(view.unsqueeze(0)), dim=1)[0].tolist() for view in second]
    assert loss.item() == pytest.approx(info_nce(q, k, method.queue.keys.tolist(), 0.3), abs=1e-3)
    torch.testing.assert_close(method.newest, torch.tensor(k), atol=1e-4, rtol=0)


def test_the_queue_is_first_in_first_out() -> None:
    """Every push replaces the oldest keys, around the end too, and of too many keys the last ones stay."""
    queue = Queue(5, 2)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    pushed, number = [tuple(key) for key in queue.keys.tolist()], 0
    for count in (2, 2, 3, 5, 1, 12, 4, 7, 3):
        new = [(float(number + i), -float(number + i)) for i in range(count)]
        number += count
        queue.push(torch.tensor(new))
        pushed = (pushed + new)[-5:]  # oldest first
        oldest = int(queue.place)
        assert [tuple(key) for key in queue.keys.roll(-oldest, 0).tolist()] == pushed


def test_the_queue_follows_a_state_dict() -> None:
    """A queue's keys and its place are kept with the weights."""
    queue, other = Queue(5, 2), Queue(5, 2)
    queue.push(torch.ones(3, 2))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(torch.full((4, 2), 2.0))
    assert torch.equal(queue.keys, other.keys)


def test_the_teacher_follows_number_by_number() -> None:
    """theta_k <- m theta_k + (1 - m) theta_q for every weight; the student stays and no gradient is recorded."""
    student = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    teacher = teacher_of(student)
    for parameter in teacher.parameters():
        nn.init.normal_(parameter)
    k, q = (torch.cat([p.detach().flatten() for p in net.parameters()]).tolist() for net in (teacher, student))
    ema_update(teacher, student, 0.9)
    want = [0.9 * a + 0.1 * b for a, b in zip(k, q, strict=True)]
    assert torch.cat([p.flatten() for p in teacher.parameters()]).tolist() == pytest.approx(want, abs=1e-6)
    assert torch.cat([p.detach().flatten() for p in student.parameters()]).tolist() == q
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())


class Recorder(nn.Module):
    """Keeps which values came together, and gives back ten times each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def forward(self, values: Tensor) -> Tensor:
        self.seen.append(values.flatten().tolist())
        return values * 10


def test_groups_pass_by_themselves_and_come_back_in_order() -> None:
    """Each group is a forward pass of its own; shuffled, others meet, yet row n of the output is still image n's."""
    values = torch.arange(12.0).view(12, 1)
    plain, shuffled = Recorder(), Recorder()
    assert torch.equal(run_in_groups(plain, values, 3), values * 10)
    assert plain.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert torch.equal(run_in_shuffled_groups(shuffled, values, 3), values * 10)
    assert sorted(chain.from_iterable(shuffled.seen)) == list(range(12))
    assert [len(group) for group in shuffled.seen] == [4, 4, 4]
    assert {frozenset(group) for group in shuffled.seen} != {frozenset(group) for group in plain.seen}


@pytest.mark.parametrize("shuffle_bn", [True, False])
def test_shuffling_decides_who_shares_statistics(shuffle_bn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key encoder's groups are those of the query encoder without ``shuffle_bn``, and others with it."""
    monkeypatch.setattr(moco, "views", to_float)
    method = small_moco(shuffle_bn=shuffle_bn)
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
    """Only the query encoder learns; the key encoder starts as its copy."""
    method = small_moco()
    for mine, theirs in zip(method.query.parameters(), method.key.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    method.loss(batch(tiny)).backward()
    assert all(p.grad is not None for p in method.query.parameters())
    assert all(p.grad is None and not p.requires_grad for p in method.key.parameters())
    assert not method.queue.keys.requires_grad
    assert not method.newest.requires_grad


def test_after_a_step_the_keys_are_queued(tiny: Dataset) -> None:
    """The queue gets the batch's own keys only once its loss is taken, and the key encoder moves toward the query's."""
    method = small_moco(negatives=16, momentum=0.5)
    before = method.queue.keys.clone()
    method.loss(batch(tiny))
    assert torch.equal(method.queue.keys, before)
    first = next(method.query.parameters())
    with torch.no_grad():
        first += 1
    key = next(method.key.parameters()).clone()
    method.after_step(0.1)
    assert torch.equal(method.queue.keys[:8], method.newest)
    assert torch.equal(method.queue.keys[8:], before[8:])
    torch.testing.assert_close(next(method.key.parameters()), (key + first) / 2)
