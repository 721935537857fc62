"""The momentum teacher, the queue of keys, and batch norm in groups."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from sslbench.methods._momentum import (
    Queue,
    ema_update,
    run_in_groups,
    run_in_shuffled_groups,
    teacher_of,
)


def test_the_queue_is_first_in_first_out() -> None:
    """A push replaces the oldest keys, also across the end; of more keys than fit, the last ones are kept."""
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


def test_a_state_dict_contains_the_queue() -> None:
    """A queue that loads another's state dict continues like that one."""
    queue, other = Queue(5, 2), Queue(5, 2)
    queue.push(torch.ones(3, 2))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(torch.full((4, 2), 2.0))
    assert torch.equal(queue.keys, other.keys)


def test_the_teacher_is_a_moving_average() -> None:
    """theta_k <- m theta_k + (1 - m) theta_q for every weight. The student is unchanged; only it needs gradients."""
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
    """Records which values were in the same batch, and returns ten times each value."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def forward(self, values: Tensor) -> Tensor:
        self.seen.append(values.flatten().tolist())
        return values * 10


def test_groups_are_separate_batches_and_return_in_order() -> None:
    """Each group is a separate forward pass. Shuffling changes the groups, but output n still belongs to input n."""
    values = torch.arange(12.0).view(12, 1)
    plain, shuffled = Recorder(), Recorder()
    assert torch.equal(run_in_groups(plain, values, 3), values * 10)
    assert plain.seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert torch.equal(run_in_shuffled_groups(shuffled, values, 3), values * 10)
    assert sorted(chain.from_iterable(shuffled.seen)) == list(range(12))
    assert [len(group) for group in shuffled.seen] == [4, 4, 4]
    assert {frozenset(group) for group in shuffled.seen} != {frozenset(group) for group in plain.seen}
