"""Losses that gather rows of other processes equal those of one process with the whole batch."""

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
from sslbench.methods.simclr import nt_xent_logits
from sslbench.methods.vicreg import covariance_term, variance_term

PROCESSES = 2


def simclr_loss(one: Tensor, other: Tensor) -> Tensor:
    """SimCLR's loss of two views' outputs (N, dim)."""
    return F.cross_entropy(*nt_xent_logits(F.normalize(torch.cat([one, other]), dim=1), 0.5))


def barlow_twins_loss(one: Tensor, other: Tensor) -> Tensor:
    """Barlow Twins' loss."""
    return distance_from_identity(cross_correlation(one, other), 0.1)


def vicreg_loss(one: Tensor, other: Tensor) -> Tensor:
    """VICReg's loss."""
    one, other = gather(one), gather(other)
    return (
        F.mse_loss(one, other)
        + variance_term(one)
        + variance_term(other)
        + covariance_term(one)
        + covariance_term(other)
    )


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "simclr": simclr_loss,
    "barlow_twins": barlow_twins_loss,
    "vicreg": vicreg_loss,
}


def make_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Two views' inputs (8, 3) and the weights (3, 4) that every process holds."""
    generator = torch.Generator().manual_seed(0)
    one, other, weights = (torch.randn(n, m, generator=generator) for n, m in ((8, 3), (8, 3), (3, 4)))
    return one, other, weights


def loss_and_gradient(loss: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    weights = make_inputs()[2].requires_grad_()
    value = loss(one @ weights, other @ weights)
    value.backward()
    assert weights.grad is not None
    return value.detach(), weights.grad


def run_process(process: int, folder: Path) -> None:
    """One of two processes: computes losses of its half of the batch, and averages them and their gradients."""
    torch.set_num_threads(1)
    group = {"rank": process, "world_size": PROCESSES, "timeout": timedelta(seconds=60)}
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", **group)
    assert rank() == process
    rows = torch.arange(3.0).view(3, 1) + 10 * process
    assert gather(rows).flatten().tolist() == [0, 1, 2, 10, 11, 12]
    one, other = (values.chunk(PROCESSES)[process] for values in make_inputs()[:2])
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
    """Mean loss and mean gradient of two processes equal loss and gradient of one process with all images."""
    spawn(run_process, (tmp_path,), nprocs=PROCESSES)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    one, other, _ = make_inputs()
    for name, loss in LOSSES.items():
        for shared, whole in zip(found[name], loss_and_gradient(loss, one, other), strict=True):
            torch.testing.assert_close(shared, whole, atol=1e-5, rtol=1e-4, msg=name)


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group with a single process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_single_process_gathers_nothing() -> None:
    """Without other processes nothing is copied, and the rank is 0."""
    rows = torch.rand(3, 2, requires_grad=True)
    assert gather(rows) is rows
    assert rank() == 0


@pytest.mark.usefixtures("group_of_one")
def test_gather_returns_rows_and_gradients() -> None:
    """In a group of one process, rows and gradients are returned unchanged, as copies."""
    rows = torch.rand(3, 2, requires_grad=True)
    assert gather(rows) is rows
    whole = Gather.apply(rows)
    assert torch.equal(whole, rows)
    weights = torch.rand(3, 2)
    whole.backward(weights)
    assert rows.grad is not None
    assert torch.equal(rows.grad, weights)
    assert rows.grad is not weights
