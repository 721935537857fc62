"""Methods learn: a few hundred steps bring the pretext loss below chance, and a probe beats the untrained encoder.

``LEARNING`` names for each method its chance level, how far below it the loss must fall, and the tap at
which its paper reads the features.
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
from sslbench.bench.evaluation.probes import linear_probe
from sslbench.bench.evaluation.representation import FeatureSpec, Representation
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

    chance: float  # the loss of guessing; how it comes about stands beside it
    share: float  # of the chance level that the last steps' mean loss must stay below
    tap: str = "conv4"
    points: float = 0.02  # of accuracy by which the probe must beat the untrained encoder
    views: int = 60_000
    settings: Any = None


LEARNING = {
    "rotnet": Learning(chance=math.log(4), share=0.85),  # four rotations
    "jigsaw": Learning(chance=math.log(64), share=0.85),  # 64 permutations
    "moco": Learning(chance=math.log(2048 + 1), share=0.85),  # the key among the queue
    "denoising": Learning(chance=math.log(2), share=0.9),  # grey; pixels' own entropy leaves little below it
    # The rebalanced nats of the best constant answer: the weighted mean of the pixels' soft codes.
    "colorization": Learning(chance=4.12, share=0.92, views=20_000),
    # Nats of the best constant answers, the pixels' mean code of a* and b* and their shares of each step of L*.
    "split_brain": Learning(chance=3.78 + 4.22, share=0.97, views=20_000),
    # The squared error of the mean map: most of a height is told by the row alone.
    "depth": Learning(chance=0.0095, share=0.75, views=20_000),
    "tracking": Learning(chance=0.5, share=0.5, views=24_000),  # the margin, which equal embeddings pay
    # Nats of copying from all places of the references alike: what the method watches as "uniform".
    "video_colorization": Learning(chance=1.45, share=0.5, views=40_000),
    "relative_patch": Learning(chance=math.log(8), share=0.92, views=20_000),  # eight places
    # Outputs that know nothing of their images, scattered at random, matched to a batch's targets in 16 dimensions.
    "nat": Learning(chance=1.0, share=0.97, tap="conv5", views=40_000),
    # The weighted error of the mean painting. Without the critic: its part of the sum is a game and need not fall.
    "context_encoder": Learning(
        chance=0.637, share=0.5, tap="conv5", points=0.05, views=10_000, settings={"objective": "l2"}
    ),
    # A game has no loss that falls: all players' sum is 4 log 2 where the critic cannot tell, at the start and at the
    # best end, and rises without bound where it wins. So it must have come back near to that; the codes are of conv5.
    "bigan": Learning(chance=4 * math.log(2), share=1.2, tap="conv5", points=0.02, views=60_000),
    # The best constant answer: one of 1 + 15 patches is a neighbour.
    "word2vec": Learning(chance=math.log(16) + 15 * math.log(16 / 15), share=0.96, tap="conv5", views=40_000),
    # One of the 2 x 64 - 1 other views. Some 150 steps of a joint embedding bring the probe little, hence the points.
    "simclr": Learning(chance=math.log(127), share=0.87, points=0.01, views=20_000),
    "barlow_twins": Learning(chance=512, share=0.6, points=0.01, views=20_000),  # no correlation in any of 512 numbers
    "byol": Learning(chance=4, share=0.65, views=20_000),  # unrelated directions, both ways
    "simsiam": Learning(chance=-0.5, share=1, points=0.01, views=20_000),  # half way from unrelated to equal directions
    # The margin, which embeddings that are all equal pay.
    "triplet": Learning(chance=0.2, share=0.8, tap="conv5", points=0.04, views=20_000),
    # The image among all; its first epoch has nothing to find it in.
    "instdisc": Learning(chance=math.log(4_000), share=0.97, tap="conv5", points=0.05, views=20_000),
    # Noise-contrastive estimation among 2048: each candidate is as likely noise as the noise makes it.
    "pirl": Learning(
        chance=math.log(2049) + 2048 * math.log(2049 / 2048), share=0.97, tap="conv5", points=0.03, views=20_000
    ),
    "mocov2": Learning(chance=math.log(2048 + 1), share=0.9, tap="conv5", views=20_000),
    # Both ways, one of 64 keys, scaled by twice the temperature.
    "mocov3": Learning(chance=2 * 0.4 * math.log(64), share=0.88, tap="conv5", points=0.05, views=20_000),
    # The mean over heads of 32, 64 and 128 clusters; the first epoch only fills the memory.
    "deepcluster": Learning(chance=math.log(64), share=0.95, tap="conv5", views=20_000),
    # 25 x 2: a constant answer pays it for lack of variance, unrelated numbers of variance 1 for being unequal.
    "vicreg": Learning(chance=50, share=0.76, points=0.01, views=20_000),
    # The true part among 128 others.
    "cpc": Learning(chance=math.log(129), share=0.6, tap="conv5", points=0.06, views=12_000),
    "clip": Learning(chance=math.log(64), share=0.6, tap="conv5", points=0.1, views=12_000),  # one of 64 captions
    # The variance of patches that have been brought to variance 1, but for those of one colour, which have none. So
    # few steps reach the middle of the transformer; its last tap, under the decoder, does not gain yet.
    "mae": Learning(chance=0.93, share=0.65, tap="conv4", points=0.04, views=6_000),
    # The prototypes, all alike likely.
    "swav": Learning(chance=math.log(64), share=0.99, tap="conv5", points=0.01, views=20_000),
    "dino": Learning(chance=math.log(256), share=0.85, tap="conv5", views=18_000),
    "supervised": Learning(chance=math.log(10), share=0.5, points=0.1),  # ten classes
}


@pytest.fixture(scope="module")
def data(session_cache: None) -> Dataset:
    """4,000 train images, with all that the renderer provides."""
    return Synthetic(train=4_000, test=1_000).load(Synthetic.provides)


def accuracy(encoder: Encoder, data: Dataset, tap: str) -> float:
    """Of a linear probe on the test images."""
    seen = Representation(copy.deepcopy(encoder).eval(), data, encoder.colour_part, CPU)  # it freezes what it is given
    spec = FeatureSpec(tap, 512)
    for _ in seen.extract([spec]):
        pass
    found = linear_probe(seen.train(spec), data.train.labels, seen.test(spec), len(data.classes))
    return (found.predictions == data.test.labels).float().mean().item()


@pytest.mark.parametrize("name", LEARNING)
def test_it_learns(name: str, data: Dataset, tmp_path: Path) -> None:
    """The loss falls below its chance level, and the features beat those of the same encoder untrained."""
    plugin, expected = find_plugins("method")[name], LEARNING[name]
    encoder, settings = start(plugin)
    untrained = accuracy(encoder, data, expected.tap)
    train_info = TrainInfo(num_images=len(data.train), num_classes=len(data.classes), image_size=data.image_size)
    method = plugin.load()(encoder, train_info, **settings | (expected.settings or {}))
    recipe = Recipe(views=expected.views, batch_size=64)
    losses = [step.loss for step in pretrain(method, data.train, recipe, CPU, tmp_path / "run")]
    assert len(losses) == optimiser_steps(method, recipe)
    tail = losses[-max(1, len(losses) // 10) :]
    assert sum(tail) / len(tail) < expected.share * expected.chance
    assert accuracy(encoder, data, expected.tap) > untrained + expected.points


def start(plugin: Plugin) -> tuple[Encoder, dict[str, Any]]:
    """The default encoder before training, as the method wants it, and the settings of a short run."""
    torch.manual_seed(0)
    short = plugin.constants.get("short_run_settings") or {}
    return encoder_for(plugin, width=16), {key: value for key, value in short.items() if not key.startswith("recipe.")}


def test_every_method_is_here() -> None:
    """A method that trains is either in the table or not yet done."""
    trained = {name for name, plugin in find_plugins("method").items() if plugin.constants.get("trains", True)}
    assert trained == set(LEARNING)
