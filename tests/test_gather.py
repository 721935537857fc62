"""The batch that several processes share: losses and gradients are those of one process with the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing import spawn

from sslbench.bench.training.distributed import Gather, gather, rank
from sslbench.methods.barlow_twins import cross_correlation, distance_from_identity
from sslbench.methods.simclr import nt_xent
from sslbench.methods.vicreg import redundancy, shortfall

PROCESSES = 2


def contrastive(one: Tensor, other: Tensor) -> Tensor:
    """SimCLR's loss of two views' outputs (N, dim)."""
    return F.cross_entropy(*nt_xent(F.normalize(torch.cat([one, other]), dim=1), 0.5))


def correlated(one: Tensor, other: Tensor) -> Tensor:
    """Barlow Twins' loss."""
    return distance_from_identity(cross_correlation(one, other), 0.1)


def regularised(one: Tensor, other: Tensor) -> Tensor:
    """VICReg's loss."""
    one, other = gather(one), gather(other)
    return F.mse_loss(one, other) + shortfall(one) + shortfall(other) + redundancy(one) + redundancy(other)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "simclr": contrastive,
    "barlow_twins": correlated,
    "vicreg": regularised,
}


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Two views' inputs (8, 3) and the weights (3, 4) that every process holds."""
    generator = torch.Generator().manual_seed(0)
    one, other, weights = (torch.randn(n, m, generator=generator) for n, m in ((8, 3), (8, 3), (3, 4)))
    return one, other, weights


def loss_and_gradient(loss: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    weights = inputs()[2].requires_grad_()
    value = loss(one @ weights, other @ weights)
    value.backward()
    assert weights.grad is not None
    return value.detach(), weights.grad


def share(process: int, folder: Path) -> None:
    """One of two processes: its half of the batch, values and gradients averaged as data-parallel training does."""
    torch.set_num_threads(1)
    group = {"rank": process, "world_size": PROCESSES, "timeout": timedelta(seconds=60)}
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", **group)
    assert rank() == process
    rows = torch.arange(3.0).view(3, 1) + 10 * process
    assert gather(rows).flatten().tolist() == [0, 1, 2, 10, 11, 12]
    one, other = (values.chunk(PROCESSES)[process] for values in inputs()[:2])
    found = {}
    for name, loss in LOSSES.items():
        averaged = loss_and_gradient(loss, one, other)
        for value in averaged:
            dist.all_reduce(value)
            value /= PROCESSES
        found[name] = averaged
    if process == 0:
        torch.save(found, folder / "found.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    """The mean of two processes' losses, and of their gradients, are those of all images in one process."""
    spawn(share, (tmp_path,), nprocs=PROCESSES)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    one, other, _ = inputs()
    for name, loss in LOSSES.items():
        for shared, whole in zip(found[name], loss_and_gradient(loss, one, other), strict=True):
            torch.testing.assert_close(shared, whole, atol=1e-5, rtol=1e-4, msg=name)


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group with nobody else in it."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_one_process_keeps_what_it_has() -> None:
    """Without other processes nothing is copied, and this is process 0."""
    rows = torch.rand(3, 2, requires_grad=True)
    assert gather(rows) is rows
    assert rank() == 0


@pytest.mark.usefixtures("group_of_one")
def test_the_collectives_give_rows_and_gradients_back() -> None:
    """In a group of one the rows come back as they are, with their gradient, which is not written into."""
    rows = torch.rand(3, 2, requires_grad=True)
    assert gather(rows) is rows
    whole = Gather.apply(rows)
    assert torch.equal(whole, rows)
    weights = torch.rand(3, 2)
    whole.backward(weights)
    assert rows.grad is not None
    assert torch.equal(rows.grad, weights)
    assert rows.grad is not weights
