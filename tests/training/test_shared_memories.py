"""Queues, banks, clusters and keys of two processes that share a batch are those of the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, Method, TrainInfo
from sslbench.methods._bank import Bank
from sslbench.methods._clusters import Clusterings
from sslbench.methods._contrast import answers_in_first_column
from sslbench.methods._dictionary import info_nce_logits
from sslbench.methods.mocov2 import MoCoV2
from sslbench.methods.mocov3 import MoCoV3

FACTS = TrainInfo(num_images=16, num_classes=10, image_size=32)
N = 4  # images per process


def build_methods() -> tuple[MoCoV2, MoCoV3]:
    """MoCo v2 and v3 in eval mode, with the same weights in every process."""
    torch.manual_seed(0)
    v2 = MoCoV2(ConvNet(32, width=4), FACTS, negatives=12, dim=5, groups=1)
    v3 = MoCoV3(ConvNet(32, width=4), FACTS, hidden=6, dim=5)
    return v2.eval(), v3.eval()


def make_shard(rank: int) -> Batch:
    """The images of a process, always the same."""
    torch.manual_seed(100 + rank)
    return Batch(images=torch.randint(256, (N, 3, 32, 32), dtype=torch.uint8), indices=torch.arange(N) + N * rank)


def make_vectors() -> torch.Tensor:
    """Normalised vectors of two views of all images (2, 2 N, dim)."""
    torch.manual_seed(200)
    return F.normalize(torch.randn(2, 2 * N, 5), dim=2)


def build_memories() -> tuple[Bank, Clusterings]:
    torch.manual_seed(300)
    return Bank(16, 5, 0.5), Clusterings(16, 5, (2, 3), 0.5, 3)


def run_step(method: Method, rank: int) -> torch.Tensor:
    """Returns the loss of a process's shard, and finishes the step."""
    batch = make_shard(rank)
    loss = method.loss(batch)
    method.after_step(0.5)
    return loss.detach()


def run_process(rank: int, folder: str) -> None:
    """One of two processes: takes a step, updates the memories, and saves them."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    v2, v3 = build_methods()
    bank, clusters = build_memories()
    found = {"v2": run_step(v2, rank), "queue": v2.queue.keys, "newest": v2.newest, "v3": run_step(v3, rank)}
    mine = make_shard(rank).indices
    bank.update(mine, make_vectors()[0, mine])
    torch.manual_seed(400 + rank)  # processes need not draw the same first centroids
    clusters.update(mine, make_vectors()[:, mine])
    found |= {"bank": bank.vectors, "centroids": clusters.centroids, "assignments": clusters.assignments}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_memories_hold_the_whole_batch(tmp_path: Path) -> None:
    """Both processes end with the queue, bank and clusters of one process with all images."""
    torch.multiprocessing.spawn(run_process, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    v2, v3 = build_methods()
    losses, keys = [], []
    for rank in range(2):
        losses.append(v2.loss(make_shard(rank)).item())
        keys.append(v2.newest)
    assert [one["v2"].item() for one in found] == pytest.approx(losses, rel=1e-4)
    v2.queue.push(torch.cat(keys))
    bank, clusters = build_memories()
    bank.update(torch.arange(2 * N), make_vectors()[0])
    torch.manual_seed(400)  # the first process's
    clusters.update(torch.arange(2 * N), make_vectors())
    for one in found:
        torch.testing.assert_close(one["queue"], v2.queue.keys)
        torch.testing.assert_close(one["bank"], bank.vectors)
        torch.testing.assert_close(one["centroids"], clusters.centroids)
        assert torch.equal(one["assignments"], clusters.assignments)
        assert (one["assignments"] >= 0).sum() == 2 * 2 * N
    check_v3(v3, [one["v3"].item() for one in found])


def check_v3(method: MoCoV3, losses: list[float]) -> None:
    """The loss contrasts each process's queries with the keys of both processes."""
    from sslbench.methods._views import two_views
    from sslbench.methods.mocov3 import AUGMENTATIONS

    pairs = []
    for rank in range(2):
        batch = make_shard(rank)
        pairs.append(method.queries_and_keys(two_views(batch.images, *AUGMENTATIONS)))
    for rank, ((q1, q2), _) in enumerate(pairs):
        total = 0.0
        for q, side in ((q1, 1), (q2, 0)):
            own, other = pairs[rank][1][side], pairs[1 - rank][1][side]
            for n in range(N):
                negatives = torch.cat([own[[i for i in range(N) if i != n]], other])
                logits = info_nce_logits(q[n : n + 1], own[n : n + 1], negatives, 1.0)
                total += 2 * F.cross_entropy(logits, answers_in_first_column(logits)).item() / N
        assert losses[rank] == pytest.approx(total, rel=1e-3)
