"""Tracking: how pairs of patches are ranked against patches of other clips."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset, Split
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import colour_jitter
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._tracks import (
    cut_track_ends,
)
from sslbench.methods.tracking import Tracking

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: float) -> Tracking:
    torch.manual_seed(0)
    return Tracking(ConvNet(32, width=4), TRAIN_INFO, **{"hidden": 8, "dim": 5} | settings)  # type: ignore[arg-type]


def make_batch(clips: Tensor) -> Batch:
    return Batch(images=clips[:, 0], indices=torch.arange(len(clips)), clips=clips)


@pytest.mark.parametrize("mining", [False, True])
def test_the_loss_matches_a_loop(film: Split, mining: bool) -> None:
    """A pair is ranked against its K negatives: at first random ones, later the nearest."""
    assert film.clips is not None
    method = make_method(margin=0.3, negatives=2, jitter=0.5).eval()
    for parameter in method.head.parameters():
        torch.nn.init.normal_(parameter)  # so that distances differ much
    method.after_step(0.6 if mining else 0.4)
    clips = film.clips[:6]
    torch.manual_seed(1)
    loss = method.loss(make_batch(clips))
    torch.manual_seed(1)
    patches, _ = cut_track_ends(clips, 0.5, 0.1)
    views = colour_jitter(patches.flatten(0, 1), jitter=0.5, grey=0.0)
    drawn = torch.rand(6, 6).tolist()
    embeddings = [method.head(method.encoder(view.unsqueeze(0)))[0].tolist() for view in views]

    def distance(a: list[float], b: list[float]) -> float:
        along = sum(x * y for x, y in zip(a, b, strict=True))
        return 1 - along / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    terms, right = [], []
    for n in range(6):
        away = [distance(embeddings[n], embeddings[6 + m]) for m in range(6)]
        others = [m for m in range(6) if m != n]
        chosen = sorted(others, key=away.__getitem__ if mining else lambda m, n=n: -drawn[n][m])[:2]
        terms += [max(0.0, away[n] - away[m] + 0.3) for m in chosen]
        right.append(all(away[n] < away[m] for m in others))
    assert len(set(terms)) > 5
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 6)


def test_a_clip_is_no_negative_of_itself(film: Split) -> None:
    """If a batch contains a clip several times, only other clips are its negatives; without any the loss is 0."""
    assert film.clips is not None
    method = make_method(negatives=3, jitter=0.0).eval()
    alone = method.loss(make_batch(film.clips[:1].expand(4, -1, -1, -1, -1)))
    assert alone.item() == 0
    method.moving = 0.001  # a single track per clip, so that random draws make no difference
    torch.manual_seed(0)
    both = method.loss(make_batch(film.clips[[0, 1]]))
    torch.manual_seed(0)
    twice = method.loss(make_batch(film.clips[[0, 0, 1, 1]]))
    assert both > 0
    torch.testing.assert_close(twice, both)


def test_the_loss_of_equal_embeddings_is_the_margin(film: Split) -> None:
    """This is the chance level: if all embeddings are equal, each negative costs the margin."""
    assert film.clips is not None
    method = make_method()
    torch.nn.init.zeros_(method.head[2].weight)
    assert method.loss(make_batch(film.clips[:8])).item() == pytest.approx(0.5)


def test_short_runs_augment_colours(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """``jitter`` and ``grey`` change the colours of the patches; with the paper's settings they are unchanged."""
    assert tiny.train.clips is not None
    seen: list[Tensor] = []
    for settings in ({}, {"jitter": 0.8, "grey": 0.2}):
        method = make_method(**settings)
        prepare = method.encoder.prepare_images
        monkeypatch.setattr(
            method.encoder, "prepare_images", lambda views, prepare=prepare: (seen.append(views), prepare(views))[1]
        )
        torch.manual_seed(0)
        method.loss(make_batch(tiny.train.clips))
    torch.manual_seed(0)
    patches, _ = cut_track_ends(tiny.train.clips, 0.5, 0.1)
    torch.testing.assert_close(seen[0], patches.flatten(0, 1), atol=1e-3, rtol=0)
    assert (seen[1] - seen[0]).abs().amax((1, 2, 3)).gt(0.02).sum() > len(seen[0]) // 2
