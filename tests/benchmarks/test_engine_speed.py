"""The overhead of the engine over the bare network. Ratios are to the first row of each group."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms.functional import to_pil_image

from sslbench.bench.data import Dataset
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.encoders.resnet18 import ResNet18
from sslbench.bench.encoders.vit import ViT
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.method import Batch, Method, TrainInfo
from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.precision import low_precision
from sslbench.bench.training.loop import make_batch
from sslbench.methods.simclr import SimCLR
from tests.builders import encoder_for

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FACTS = TrainInfo(num_images=2000, num_classes=10, image_size=32)
TRAINED = [name for name, plugin in find_plugins("method").items() if plugin.constants.get("trains", True)]


@pytest.fixture(scope="module")
def images():
    """2,000 embedded images, with all that the renderer provides."""
    return Synthetic(train=2000, test=100).load(Synthetic.provides)


def convnet() -> ConvNet:
    """The default encoder, channels last."""
    torch.manual_seed(0)
    return ConvNet(32).to(memory_format=torch.channels_last)


def autocast(enabled: bool | None = None):
    """bf16 where this processor supports it, as in a run."""
    return torch.autocast("cpu", torch.bfloat16, enabled=low_precision(CPU) if enabled is None else enabled)


@pytest.mark.benchmark(group="extraction of five taps, 2,000 images")
class TestExtraction:
    """One pass over a split, compared to the bare forward pass."""

    def test_bare_forward(self, benchmark, images):
        """Only the encoder, batch by batch."""
        encoder = convnet().eval()

        @torch.no_grad()
        def forward():
            for batch in images.train.images.split(256):
                with autocast():
                    encoder(batch)

        benchmark.pedantic(forward, rounds=5, warmup_rounds=1)

    def test_representation(self, benchmark, images):
        """The same, with all taps pooled and written to disk."""
        feature_specs = [FeatureSpec(f"conv{n}", 2048) for n in range(1, 6)]

        def fresh():
            return (Representation(convnet(), images, f"run {len(names)}", CPU),), {}

        names: list[str] = []

        def extract(representation):
            names.append("")
            representation.dataset = images
            for _ in representation._extract_split("train", images.train, feature_specs):
                pass

        benchmark.pedantic(extract, setup=fresh, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name", TRAINED)
class TestStep:
    """A method's forward and backward pass, compared to the passes of its encoders alone on the same views."""

    def test_bare(self, benchmark, images, name, monkeypatch):
        """Only the encoders, with gradients where the method needs them, up to the deepest tap that it reads."""
        benchmark.group = f"step of {name}"
        method, batch = method_and_batch(images, name)
        calls: list[tuple[Encoder, Tensor, str, bool]] = []
        patches: list[tuple[ViT, Tensor]] = []
        monkeypatch.setattr(Encoder, "iter_features", record_calls(Encoder.iter_features, calls))
        monkeypatch.setattr(ViT, "encode_tokens", record_tokens(ViT.encode_tokens, patches))
        with autocast():
            method.loss(batch)
        monkeypatch.undo()

        def step():
            total = torch.zeros(())
            with autocast():
                for encoder, views, tap, gradients in calls:
                    with torch.set_grad_enabled(gradients):
                        maps = encoder.features(views, [tap])[tap]
                    total = total + maps.float().mean()
                for encoder, tokens in patches:
                    total = total + encoder.encode_tokens(tokens).float().mean()
            total.backward()

        benchmark.pedantic(step, rounds=3, warmup_rounds=1)

    def test_step(self, benchmark, images, name):
        """The whole step: also views, targets, heads and loss."""
        benchmark.group = f"step of {name}"
        method, batch = method_and_batch(images, name)

        def step():
            with autocast():
                loss = method.loss(batch)
            loss.backward()
            method.after_step(0.5)

        benchmark.pedantic(step, rounds=3, warmup_rounds=1)


def method_and_batch(images: Dataset, name: str) -> tuple[Method, Batch]:
    """The method over the default encoder with the settings of a short run, and a batch of about 512 views."""
    plugin = find_plugins("method")[name]
    torch.manual_seed(0)
    encoder = encoder_for(plugin, width=32)
    settings = {
        k: v for k, v in (plugin.constants.get("short_run_settings") or {}).items() if not k.startswith("recipe.")
    }
    method = plugin.load()(encoder, FACTS, **settings).to(memory_format=torch.channels_last).train()
    n = min(len(images.train), max(64, round(512 / method.views_per_image)))
    return method, make_batch(method, images.train, torch.arange(n), CPU)


def record_calls(iter_features, calls):
    """Wraps an encoder's ``iter_features`` to record its views, the deepest tap, and whether gradients were on."""

    def recorded(encoder, views):
        at, tap = len(calls), ""
        calls.append((encoder, views.detach(), tap, torch.is_grad_enabled()))
        for tap, features in iter_features(encoder, views):
            calls[at] = (encoder, calls[at][1], tap, calls[at][3])
            yield tap, features

    return recorded


def record_tokens(encode_tokens, patches):
    """Wraps a transformer's ``encode_tokens`` to record its tokens."""

    def recorded(encoder, tokens):
        patches.append((encoder, tokens.detach()))
        return encode_tokens(encoder, tokens)

    return recorded


@pytest.mark.benchmark(group="precision of a training step on 512 views")
@pytest.mark.parametrize(("layout", "low"), [("nchw", False), ("channels-last", False), ("channels-last", True)])
def test_precision(benchmark, images, layout, low):
    """Plain fp32, channels-last, and bf16 where the processor supports it."""
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


@pytest.mark.benchmark(group="SimCLR on a ResNet-18 for CIFAR, a step on 32 images")
class TestAgainstLightly:
    """From stored images to gradients: our method as in a run, and lightly's modules with their defaults."""

    def test_ours(self, benchmark, images):
        """Views in batches, channels last, and bf16 where this processor supports it."""
        torch.manual_seed(0)
        method = SimCLR(ResNet18(32), FACTS).to(memory_format=torch.channels_last).train()
        batch = make_batch(method, images.train, torch.arange(32), CPU)

        def step():
            with autocast():
                loss = method.loss(batch)
            loss.backward()

        benchmark.pedantic(step, rounds=3, warmup_rounds=1)

    def test_lightly(self, benchmark, images):
        """Views image by image, torchvision's network with a stem for CIFAR, lightly's head and loss."""
        transforms = pytest.importorskip("lightly.transforms", exc_type=ImportError)
        heads = pytest.importorskip("lightly.models.modules.heads", exc_type=ImportError)
        losses = pytest.importorskip("lightly.loss", exc_type=ImportError)
        encoder = resnet18(weights=None)
        encoder.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        encoder.maxpool = encoder.fc = nn.Identity()
        network = nn.Sequential(encoder, heads.SimCLRProjectionHead(512, 512, 128))
        views, loss = transforms.SimCLRTransform(input_size=32, gaussian_blur=0.0), losses.NTXentLoss()
        pil_images = [to_pil_image(image) for image in images.train.images[:32]]

        def step():
            first, second = (torch.stack(views_of_one) for views_of_one in zip(*map(views, pil_images), strict=True))
            loss(network(first), network(second)).backward()

        benchmark.pedantic(step, rounds=3, warmup_rounds=1)
