"""Methods learn: after a few hundred steps the loss is below chance, and a probe beats the untrained encoder.

``LEARNING`` has for each method its chance level, how far below it the loss must fall, and the tap that is probed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.encoders import Encoder
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.bench.evaluation.probes import linear_probe
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.method import TrainInfo
from sslbench.bench.plugins.discovery import Plugin, find_plugins
from sslbench.bench.training.loop import optimiser_steps, pretrain
from sslbench.bench.training.recipe import Recipe
from tests.builders import encoder_for

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What a short run must reach."""

    chance: float  # the loss of guessing, explained by the comment at each method
    share: float  # the mean loss of the last steps must be below this share of the chance level
    tap: str = "conv4"
    points: float = 0.02  # difference in accuracy by which the probe must beat the untrained encoder
    views: int = 60_000
    settings: Any = None


LEARNING = {
    "rotnet": Learning(chance=math.log(4), share=0.85),  # four rotations
    "jigsaw": Learning(chance=math.log(64), share=0.85),  # 64 permutations
    "moco": Learning(chance=math.log(2048 + 1), share=0.85),  # finding the key in the queue
    # Predicting grey; the entropy of the pixels themselves is not far below.
    "denoising": Learning(chance=math.log(2), share=0.9),
    # The rebalanced nats of the best constant prediction: the weighted mean of the pixels' soft targets.
    "colorization": Learning(chance=4.12, share=0.92, views=20_000),
    # The nats of the best constant predictions: the mean soft target of a* and b*, and the frequencies of L* steps.
    "split_brain": Learning(chance=3.78 + 4.22, share=0.97, views=20_000),
    # The squared error of predicting the mean map, which explains most of the height.
    "depth": Learning(chance=0.0095, share=0.75, views=20_000),
    "tracking": Learning(chance=0.5, share=0.5, views=24_000),  # the margin, the loss of equal embeddings
    # The nats of copying from all places of the references equally, logged as "uniform".
    "video_colorization": Learning(chance=1.45, share=0.5, views=40_000),
    "relative_patch": Learning(chance=math.log(8), share=0.92, views=20_000),  # eight neighbouring places
    # The distance of random outputs, optimally matched to the targets of a batch in 16 dimensions.
    "nat": Learning(chance=1.0, share=0.97, tap="conv5", views=40_000),
    # The weighted error of predicting the mean image. Without the critic, because an adversarial loss need not fall.
    "context_encoder": Learning(
        chance=0.637, share=0.5, tap="conv5", points=0.05, views=10_000, settings={"objective": "l2"}
    ),
    # The sum of the adversarial losses is 4 log 2 if the critic is at chance, as at the start and at the optimum, and
    # grows without bound if the critic wins. So it only has to end near this level. The codes come from conv5.
    "bigan": Learning(chance=4 * math.log(2), share=1.2, tap="conv5", points=0.02, views=60_000),
    # The best constant prediction: one of 1 + 15 patches is a neighbour.
    "word2vec": Learning(chance=math.log(16) + 15 * math.log(16 / 15), share=0.96, tap="conv5", views=40_000),
    # Finding one of the 2 x 64 - 1 other views. The probe gains little from some 150 steps, hence the few points.
    "simclr": Learning(chance=math.log(127), share=0.87, points=0.01, views=20_000),
    # No correlation between views in any of 512 components.
    "barlow_twins": Learning(chance=512, share=0.6, points=0.01, views=20_000),
    "byol": Learning(chance=4, share=0.65, views=20_000),  # orthogonal directions, in both terms
    "simsiam": Learning(chance=-0.5, share=1, points=0.01, views=20_000),  # half way to equal directions
    # The margin, the loss of equal embeddings.
    "triplet": Learning(chance=0.2, share=0.8, tap="conv5", points=0.04, views=20_000),
    # Finding the image among all; the first epoch has no vector to find.
    "instdisc": Learning(chance=math.log(4_000), share=0.97, tap="conv5", points=0.05, views=20_000),
    # Noise-contrastive estimation with 2048 negatives, if all candidates look the same.
    "pirl": Learning(
        chance=math.log(2049) + 2048 * math.log(2049 / 2048), share=0.97, tap="conv5", points=0.03, views=20_000
    ),
    "mocov2": Learning(chance=math.log(2048 + 1), share=0.9, tap="conv5", views=20_000),
    # Finding one of 64 keys in both directions, scaled by twice the temperature.
    "mocov3": Learning(chance=2 * 0.4 * math.log(64), share=0.88, tap="conv5", points=0.05, views=20_000),
    # The mean over heads with 32, 64 and 128 clusters; the first epoch only fills the memory.
    "deepcluster": Learning(chance=math.log(64), share=0.95, tap="conv5", views=20_000),
    # 25 x 2: the variance term of a constant output, or the invariance term of unrelated outputs of variance 1.
    "vicreg": Learning(chance=50, share=0.76, points=0.01, views=20_000),
    # Finding the true part among 128 others.
    "cpc": Learning(chance=math.log(129), share=0.6, tap="conv5", points=0.06, views=12_000),
    # Finding one of 64 captions.
    "clip": Learning(chance=math.log(64), share=0.6, tap="conv5", points=0.1, views=12_000),
    # The variance of normalised patches, which is 1 except in patches of one colour. After so few steps the middle of
    # the transformer gains, but not yet its last tap.
    "mae": Learning(chance=0.93, share=0.65, tap="conv4", points=0.04, views=6_000),
    # Uniform predictions over the prototypes; the same for dino.
    "swav": Learning(chance=math.log(64), share=0.99, tap="conv5", points=0.01, views=20_000),
    "dino": Learning(chance=math.log(256), share=0.85, tap="conv5", views=18_000),
    "supervised": Learning(chance=math.log(10), share=0.5, points=0.1),  # ten classes
}


@pytest.fixture(scope="module")
def data(session_cache: None) -> Dataset:
    """4,000 train images with all that the rendered data set provides."""
    return Synthetic(train=4_000, test=1_000).load(Synthetic.provides)


def probe_accuracy(encoder: Encoder, data: Dataset, tap: str) -> float:
    """Accuracy of a linear probe on the test images."""
    frozen = copy.deepcopy(encoder).eval()
    representation = Representation(frozen, data, encoder.colour_part, CPU)
    spec = FeatureSpec(tap, 512)
    for _ in representation.extract([spec]):
        pass
    probe = linear_probe(representation.train(spec), data.train.labels, representation.test(spec), len(data.classes))
    return (probe.predictions == data.test.labels).float().mean().item()


@pytest.mark.parametrize("name", LEARNING)
def test_it_learns(name: str, data: Dataset, tmp_path: Path) -> None:
    """The loss falls below its chance level, and the features beat those of the same encoder untrained."""
    plugin, expected = find_plugins("method")[name], LEARNING[name]
    encoder, settings = initial_encoder_and_settings(plugin)
    untrained = probe_accuracy(encoder, data, expected.tap)
    train_info = TrainInfo(num_images=len(data.train), num_classes=len(data.classes), image_size=data.image_size)
    method = plugin.load()(encoder, train_info, **settings | (expected.settings or {}))
    recipe = Recipe(views=expected.views, batch_size=64)
    losses = [step.loss for step in pretrain(method, data.train, recipe, CPU, tmp_path / "run")]
    assert len(losses) == optimiser_steps(method, recipe)
    tail = losses[-max(1, len(losses) // 10) :]
    assert sum(tail) / len(tail) < expected.share * expected.chance
    assert probe_accuracy(encoder, data, expected.tap) > untrained + expected.points


def initial_encoder_and_settings(plugin: Plugin) -> tuple[Encoder, dict[str, Any]]:
    """The untrained default encoder that the method needs, and the settings of a short run."""
    torch.manual_seed(0)
    short = plugin.constants.get("short_run_settings") or {}
    return encoder_for(plugin, width=16), {key: value for key, value in short.items() if not key.startswith("recipe.")}


def test_every_method_that_trains_is_in_the_table() -> None:
    """The table has exactly the methods that train."""
    trained = {name for name, plugin in find_plugins("method").items() if plugin.constants.get("trains", True)}
    assert trained == set(LEARNING)
