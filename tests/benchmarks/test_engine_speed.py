"""What the engine adds to the bare network: each group's first row is the yardstick of the others."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from bench.data.synthetic import Synthetic
from bench.encoders.convnet import ConvNet
from bench.method import Batch, TrainFacts
from bench.plugins import ROOT, plugins
from bench.precision import low_precision
from bench.representation import Reading, Representation

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FACTS = TrainFacts(images=2000, classes=10, image_size=32)
TRAINED = [name for name, plugin in plugins("method").items() if plugin.constants.get("trains", True)]


@pytest.fixture(scope="module")
def images():
    """2,000 embedded images."""
    return Synthetic(train=2000, test=100).load(frozenset())


def convnet() -> ConvNet:
    """The default encoder, channels last."""
    torch.manual_seed(0)
    return ConvNet(32).to(memory_format=torch.channels_last)


def autocast(enabled: bool | None = None):
    """bf16 where this processor computes in it, as a run would have it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=low_precision(CPU) if enabled is None else enabled)


@pytest.mark.benchmark(group="extraction of five taps, 2,000 images")
class TestExtraction:
    """A pass over a split, against the bare forward pass."""

    def test_bare_forward(self, benchmark, images):
        """The encoder alone, batch by batch."""
        encoder = convnet().eval()

        @torch.no_grad()
        def forward():
            for batch in images.train.images.split(256):
                with autocast():
                    encoder(batch)

        benchmark.pedantic(forward, rounds=5, warmup_rounds=1)

    def test_representation(self, benchmark, images):
        """The same with all taps pooled and written."""
        readings = [Reading(f"conv{n}", 2048) for n in range(1, 6)]

        def fresh():
            return (Representation(convnet(), images, f"run {len(names)}", CPU),), {}

        names: list[str] = []

        def extract(representation):
            names.append("")
            representation.dataset = images
            for _ in representation._pass("train", images.train, readings):
                pass

        benchmark.pedantic(extract, setup=fresh, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="training step on 512 views")
class TestStep:
    """A method's forward and backward pass on its views, against the encoder's own on ready views."""

    def test_bare_step(self, benchmark, images):
        """Forward and backward pass on 512 ready views."""
        encoder, head = convnet(), torch.nn.Linear(256, 10)
        views = images.train.images[:512].float() / 255
        labels = images.train.labels[:512]

        def step():
            with autocast():
                loss = F.cross_entropy(head(encoder(views)), labels)
            loss.backward()

        benchmark.pedantic(step, rounds=8, warmup_rounds=2)

    @pytest.mark.parametrize("name", TRAINED)
    def test_method(self, benchmark, images, name):
        """The same number of views in the method's own step."""
        plugin = plugins("method")[name]
        method = plugin.load()(convnet(), FACTS, **plugin.defaults | (plugin.constants.get("short") or {}))
        method.to(memory_format=torch.channels_last)
        n = round(512 / method.views_per_image)
        needs = plugin.constants.get("needs") or ()
        batch = Batch(
            images=images.train.images[:n],
            indices=torch.arange(n),
            labels=images.train.labels[:n] if "labels" in needs else None,
        )

        def step():
            with autocast():
                loss = method.loss(batch)
            loss.backward()
            method.after_step(0.5)

        benchmark.pedantic(step, rounds=8, warmup_rounds=2)


@pytest.mark.benchmark(group="precision of a training step on 512 views")
@pytest.mark.parametrize(("layout", "low"), [("nchw", False), ("channels-last", False), ("channels-last", True)])
def test_precision(benchmark, images, layout, low):
    """Plain fp32, channels-last, and bf16 where the processor computes in it."""
    if low and not low_precision(CPU):
        pytest.skip("this processor does not compute in bf16")
    encoder = ConvNet(32)
    views = images.train.images[:512].float() / 255
    stages = list(encoder.stages.values())
    if layout == "channels-last":
        encoder.to(memory_format=torch.channels_last)
        views = views.contiguous(memory_format=torch.channels_last)

    def step():
        with autocast(low):
            maps = views
            for stage in stages:
                maps = stage(maps)
        maps.float().mean().backward()

    benchmark.pedantic(step, rounds=8, warmup_rounds=2)


@pytest.mark.benchmark(group="start of the program")
@pytest.mark.parametrize("words", [["-c", "pass"], ["run_bench.py", "--help"], ["run_bench.py", "list"]], ids=" ".join)
def test_start(benchmark, words):
    """A bare interpreter, --help and list."""
    benchmark.pedantic(
        lambda: subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True),
        rounds=8,
        warmup_rounds=2,
    )
