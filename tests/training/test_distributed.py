"""Several processes that train one encoder give the same result as one process with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import spawn

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import to_float
from sslbench.bench.method import Batch, Method, TrainInfo
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.training import distributed

FACTS = TrainInfo(num_images=64, num_classes=10, image_size=32)
N = 8  # images of a whole batch
SETTINGS: dict[str, dict[str, Any]] = {
    "simclr": {"dim": 5},
    "barlow_twins": {"dim": 6},
    "vicreg": {"dim": 6},
    "swav": {"prototypes": 5, "queue": 8, "queue_from": 0.0, "frozen": 0.0, "small": 2, "hidden": 6, "dim": 4},
    "dino": {"prototypes": 5, "frozen": 0.0, "small": 2, "hidden": 6, "dim": 4},
    "moco": {"negatives": 12, "dim": 5, "groups": 2},
    "mocov3": {"hidden": 6, "dim": 4},
    "byol": {"hidden": 6, "dim": 4},
    "simsiam": {"dim": 6, "bottleneck": 3},
    "triplet": {"triplets": 2, "dim": 4},
    "clip": {"dim": 4, "width": 6, "depth": 1, "heads": 2, "vocabulary": 20},
    "cpc": {"length": 3, "steps": 2, "negatives": None, "dim": 4},
    "instdisc": {"negatives": None, "dim": 4},
    "pirl": {"negatives": None, "dim": 4},
    "deepcluster": {"clusters": (2, 3), "every": 0.125, "hidden": 6, "dim": 4},
}
SINGLE = ("predictor.context", "predictor.ahead", "text_encoder", "text_head")  # modules that receive float32


def fixed_two_views(images: Tensor, *looks: Any) -> Tensor:
    """Two views without randomness: the images and their mirror images."""
    return torch.cat([to_double(images), to_double(images).flip(-1)])


def fixed_small_crops(images: Tensor, look: Any, count: int) -> Tensor:
    """``count`` copies of a corner of each image."""
    return to_double(images)[..., :16, :16].repeat(count, 1, 1, 1)


def to_double(images: Tensor, **_: Any) -> Tensor:
    """Images in double precision, since batch norms of few images amplify rounding errors."""
    return to_float(images).double()


def fixed_patches(_: Method, batch: Batch) -> Tensor:
    """Three rows of three patches, each overlapping half of the next."""
    return to_double(batch.images).unfold(2, 16, 8).unfold(3, 16, 8).permute(0, 2, 3, 1, 4, 5)


def fixed_tiles(_: Method, images: Tensor) -> Tensor:
    """Nine tiles without gaps, in order."""
    return to_double(images).unfold(2, 10, 10).unfold(3, 10, 10).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


@contextmanager
def without_randomness() -> Iterator[None]:
    """A context in which views are not random, so that they do not depend on the process."""
    with ExitStack() as stack:
        paired = ("simclr", "barlow_twins", "vicreg", "swav", "dino", "mocov3", "byol", "simsiam", "triplet")
        for name in (*paired, "deepcluster"):
            stack.enter_context(mock.patch(f"sslbench.methods.{name}.two_views", fixed_two_views))
        for name in ("swav", "dino"):
            stack.enter_context(mock.patch(f"sslbench.methods.{name}.small_crops", fixed_small_crops))
        for name in ("moco.moco_views", "instdisc.draw_views", "pirl.draw_views", "clip.augment.random_resized_crops"):
            stack.enter_context(mock.patch(f"sslbench.methods.{name}", to_double))
        stack.enter_context(mock.patch("sslbench.methods.cpc.CPC.cut_parts", fixed_patches))
        stack.enter_context(mock.patch("sslbench.methods.pirl.PIRL.draw_tiles", fixed_tiles))
        yield


def make_shard(step: int) -> Batch:
    """This process's shard of a step's batch: new images with the same indices, so that memory banks are used."""
    images = torch.randint(256, (N, 3, 32, 32), generator=torch.Generator().manual_seed(step), dtype=torch.uint8)
    mine = distributed.shard(torch.arange(N))
    return Batch(images=images[mine], indices=mine, captions=tuple(f"picture {n} of {step}" for n in mine.tolist()))


def run_two_steps(name: str) -> dict[str, Tensor]:
    """Trains for two steps on this process's shards; returns losses, gradients and the state."""
    torch.manual_seed(0)
    method: Method = find_plugins("method")[name].load()(ConvNet(32, width=4), FACTS, **SETTINGS[name])  # type: ignore[assignment]
    for part, module in method.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm1d | nn.BatchNorm2d) and not part.startswith(SINGLE):
            module.double()
    found: dict[str, Tensor] = {}
    for step in range(2):
        torch.manual_seed(step + 100 * distributed.rank())  # the first process draws the same as a single one
        with distributed.synchronised_batch_norm(method if method.sync_batch_norm else nn.Identity()):
            loss = method.loss(make_shard(step))
        method.zero_grad()
        loss.backward()
        distributed.average_gradients(method.parameters())
        found[f"loss {step}"] = distributed.all_reduce_mean(loss.detach())
        found |= {f"gradient {step} {n}": p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
        with torch.no_grad():
            for parameter in method.parameters():
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad
        method.after_step(0.5)
    return found | method.state_dict()


def run_process(process: int, folder: Path, work: Callable[[], Any]) -> None:
    """One of two processes: calls ``work`` and saves its result."""
    torch.set_num_threads(1)
    group: dict[str, Any] = {"rank": process, "world_size": 2, "timeout": timedelta(seconds=120)}
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", **group)
    torch.save(work(), folder / f"{process}.pt")
    dist.destroy_process_group()


def run_all_methods() -> dict[str, dict[str, Tensor]]:
    with without_randomness():
        return {name: run_two_steps(name) for name in SETTINGS}


@pytest.mark.slow
def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    """Losses, gradients, batch statistics, teachers, queues, banks and centres are the same over two steps.

    Batch norm is synchronised, except for MoCo, where each process is one of the two groups of the batch.
    """
    spawn(run_process, (tmp_path, run_all_methods), nprocs=2)
    found = [torch.load(tmp_path / f"{process}.pt", weights_only=True) for process in range(2)]
    torch.set_num_threads(1)  # as in each process, since rounding depends on the number of threads
    wrong = []
    for name, want in run_all_methods().items():
        assert any(key.startswith("gradient 1 ") and value.any() for key, value in want.items()), name
        for process, one in enumerate(found):
            assert one[name].keys() == want.keys()
            for key, value in want.items():
                if name == "moco" and ("running" in key or "batches" in key):
                    continue  # each process has its own batch statistics
                off = (one[name][key].double() - value.double()).norm() / value.double().norm().clamp_min(1e-4)
                if not off < 1e-4:
                    wrong.append(f"{name}, process {process}: {key} by {off:.1e} of its length")
    assert not wrong


def apply_batch_norm() -> list[Tensor]:
    """Output of a batch norm for this process's shard, gradients, running statistics, and its output in eval mode."""
    torch.manual_seed(0)
    norm, x = nn.BatchNorm2d(3), (5 + torch.randn(8, 3, 2, 2)).requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    with distributed.synchronised_batch_norm(norm):
        y = norm(distributed.shard(x))
        y[::3].square().sum().backward()
        still = norm.eval()(x.detach())
    assert "forward" not in vars(norm)
    assert x.grad is not None
    gradients = [p.grad for p in norm.parameters() if p.grad is not None]
    return [y.detach(), x.grad, *gradients, norm.running_mean, norm.running_var, still]  # type: ignore[list-item]


@pytest.mark.slow
def test_batch_norm_sees_all_processes(tmp_path: Path) -> None:
    """Outputs, gradients and running statistics of two shares are those of torch's batch norm on the whole."""
    spawn(run_process, (tmp_path, apply_batch_norm), nprocs=2)
    found = [torch.load(tmp_path / f"{process}.pt", weights_only=True) for process in range(2)]
    torch.manual_seed(0)
    norm, x = nn.BatchNorm2d(3), (5 + torch.randn(8, 3, 2, 2)).requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    y = norm(x)
    y[[0, 3, 4, 7]].square().sum().backward()
    assert x.grad is not None
    outputs, inputs, weight, bias, mean, variance, still = zip(*found, strict=True)
    torch.testing.assert_close(torch.cat(outputs), y.detach())
    torch.testing.assert_close(sum(inputs), x.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sum(weight), norm.weight.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sum(bias), norm.bias.grad, atol=1e-5, rtol=1e-4)
    for one, other in zip(mean + variance, (norm.running_mean,) * 2 + (norm.running_var,) * 2, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(still[1], norm.eval()(x.detach()))


def test_one_process_is_alone() -> None:
    """Without torchrun a shard is the whole batch, a mean is the value, and batch norm is torch's."""
    x, norm = torch.rand(4, 3, requires_grad=True), nn.BatchNorm1d(3)
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    assert torch.equal(distributed.shard(x), x)
    assert distributed.all_reduce_mean(x) is x
    with distributed.synchronised_batch_norm(norm):
        assert "forward" not in vars(norm)
    x.sum().backward()
    distributed.average_gradients([nn.Parameter(torch.rand(2)), x])  # type: ignore[list-item]
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(4, 3))


WORDS = (
    *("--methods", "simclr", "--preset", "smoke", "--protocol", "knn", "--device", "cpu"),
    *("--set", "synthetic.train=128", "--set", "synthetic.test=40", "--set", "recipe.views=512", "--set", "knn.k=5"),
)


def run_torchrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "run_bench.py"]
    environment = os.environ | {"SSLBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [*launch, *WORDS, "--results", str(folder / "results"), *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_torchrun_trains_one_encoder(tmp_path: Path) -> None:
    """Two processes produce one record and one table; a batch that cannot be divided is refused."""
    done = run_torchrun(tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "results" / "records").glob("*.json"))) == 1
    assert done.stdout.count("records  ") == 1
    refused = run_torchrun(tmp_path, "--set", "recipe.batch_size=33")
    assert refused.returncode != 0
    assert "recipe.batch_size = 33: 2 processes cannot share it evenly" in refused.stderr
