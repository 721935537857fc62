"""The attentive probe: its forward agrees with loops, and it finds what only attention can find."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.probes import attentive_probe
from sslbench.bench.evaluation.probes.attentive import AttentiveHead
from sslbench.bench.evaluation.probes.linear import linear_probe
from sslbench.bench.evaluation.representation import Representation
from sslbench.protocols.linear import Linear
from tests.protocols.builders import ideal_dense_representation


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("channels", "heads"), [(4, 4), (26, 2), (24, 12)])
def test_the_forward_agrees_with_a_loop(channels: int, heads: int) -> None:
    """Two images of six positions: softmax of the query's products with all keys, then their mean value, per head."""
    maps, mean = torch.randn(2, channels, 2, 3, generator=generator()), torch.arange(channels) / 10
    head = AttentiveHead(mean, torch.full((channels,), 0.5), 3)
    torch.nn.init.normal_(head.query, generator=generator())
    assert head.heads == heads
    width = channels // heads
    with torch.no_grad():
        found = head(maps)
        for image, logits in zip(maps, found, strict=True):
            rows = [(image[:, y, x] - mean) * 0.5 for y in range(2) for x in range(3)]
            pooled = []
            for at in range(heads):
                part = slice(at * width, (at + 1) * width)
                products = [math.exp(float(head.query[at] @ head.key(row)[part]) / math.sqrt(width)) for row in rows]
                shares = [product / sum(products) for product in products]
                pooled.append(sum(share * head.value(row)[part] for share, row in zip(shares, rows, strict=True)))
            torch.testing.assert_close(logits, head.classify(torch.cat(pooled)), atol=1e-5, rtol=1e-4)


def marked_maps(count: int, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (N, 6, 3, 3): one position is marked in channel 0, and the class is in its other channels.

    The other positions hold the other channels of random classes, so that the mean says nothing.
    """
    labels = torch.arange(count) % 3
    classes = torch.randint(3, (count, 9), generator=draw)
    marked = torch.randint(9, (count,), generator=draw)
    classes[torch.arange(count), marked] = labels
    maps = torch.zeros(count, 6, 9)
    maps[:, 1:4] = torch.nn.functional.one_hot(classes, 3).transpose(1, 2).float()
    maps[torch.arange(count), 0, marked] = 1
    return maps.view(count, 6, 3, 3), labels


def test_it_finds_the_position_that_counts() -> None:
    """A linear probe on the mean of all positions cannot, although it is trained on the same maps."""
    draw = generator()
    (train, labels), (test, truth) = marked_maps(600, draw), marked_maps(300, draw)
    found = attentive_probe(train, labels, test, 3, epochs=40, batch_size=64, learning_rate=0.01)
    pooled = linear_probe(train.mean((2, 3)), labels, test.mean((2, 3)), 3)
    assert float((found.predictions == truth).float().mean()) > 0.95
    assert float((pooled.predictions == truth).float().mean()) < 0.75
    assert found.scores.shape == (300, 3)


def test_the_same_seed_gives_the_same_scores() -> None:
    """Whatever the global generator is, and it is not moved."""
    train, labels = marked_maps(30, generator())
    before = torch.get_rng_state()
    first = attentive_probe(train, labels, train, 3, epochs=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(attentive_probe(train, labels, train, 3, epochs=2).scores, first.scores)


def test_constant_channels_and_bad_values() -> None:
    """Channels 4 and 5 never vary and change nothing; NaN is refused in one line."""
    train, labels = marked_maps(30, generator())
    train[:, 4:] = 7
    assert attentive_probe(train, labels, train, 3, epochs=1).scores.isfinite().all()
    train[2, 1, 1, 1] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        attentive_probe(train, labels, train[:2], 3)


def dense() -> Representation:
    """Maps (n, 8, 8, 8) of 60 train and 40 test images."""
    return ideal_dense_representation(train=60, test=40)


def test_linear_with_an_attentive_head() -> None:
    """It reads maps, and yields both accuracies with predictions of all test images."""
    protocol = Linear(taps=("conv5",), head="attentive")
    accuracy, macro = protocol.evaluate(dense())
    assert (accuracy.metric, macro.metric) == ("accuracy", "macro_accuracy")
    assert accuracy.predictions is not None
    assert accuracy.predictions.shape == (40,)
    assert accuracy.details is not None
    assert accuracy.details["strength"] == 0.01
    (spec,) = protocol.feature_specs()
    assert dense().train(spec).shape == (60, 8, 8, 8)
    assert protocol.card()["head"] == "attentive"
    assert Linear().card()["head"] == "linear"


@pytest.mark.parametrize("change", [{"solver": "sgd"}, {"pooling": "max"}, {"strengths": (0.1,)}])
def test_settings_without_effect_are_refused(change: dict) -> None:
    """The line names the setting."""
    with pytest.raises(UserError, match=next(iter(change))):
        Linear(head="attentive", **change)
