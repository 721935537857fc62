"""What every frozen protocol must do, for each file of the folder."""

import dataclasses

import pytest
import torch

from sslbench.bench.data import DatasetInfo
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.representation import FeatureSpec, Representation
from sslbench.bench.plugins.discovery import plugins

CLASSES = 4
PROTOCOLS = plugins("protocol")
QUICK = {"k": (5,), "ways": ("frozen",)}
"""Settings that suit forty images and given features, where a protocol has them."""


class Given:
    """A representation whose features are given: what a protocol sees, without an encoder."""

    classes = CLASSES
    device = torch.device("cpu")

    def __init__(self, train, test, train_labels, test_labels):
        self.features = {"train": train, "test": test}
        self.pretext = {"bound": 1.5}
        self.train_labels, self.test_labels = train_labels, test_labels

    def train(self, spec: FeatureSpec):
        """Features (N, D)."""
        return self.features["train"]

    def test(self, spec: FeatureSpec):
        """Features (M, D)."""
        return self.features["test"]

    def views(self, spec: FeatureSpec, images: int):
        """Features (n, D) each of two views."""
        return self.features["test"][:images], self.features["test"][:images] + 0.1


def given(train=40, test=400, *, shuffled=False, order=None) -> Given:
    """Features that are their class, a little blurred; with labels that are right, or drawn anew."""
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(n) % CLASSES for n in (train, test)]
    features = [torch.eye(CLASSES)[y] * 4 + 0.3 * torch.randn(len(y), CLASSES, generator=generator) for y in labels]
    if shuffled:
        labels = [y[torch.randperm(len(y), generator=generator)] for y in labels]
    if order is not None:
        features[0], labels[0] = features[0][order], labels[0][order]
    return Given(*features, *labels)


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    """Each protocol of the folder, with one tap."""
    plugin = PROTOCOLS[request.param]
    quick = {name: value for name, value in QUICK.items() if name in plugin.settings}
    return plugin.load()(taps=("conv5",), **quick)


def headline(protocol, representation) -> float:
    """The number that tables show."""
    return next(n.value for n in protocol.evaluate(representation) if n.metric == protocol.headline)


def test_ideal_features_score_one(protocol):
    """Features that are the class are read without a mistake."""
    assert headline(protocol, given()) == 1


def test_shuffled_labels_score_chance(protocol):
    """Where labels say nothing about the features, accuracy is that of guessing."""
    assert headline(protocol, given(train=400, shuffled=True)) == pytest.approx(1 / CLASSES, abs=0.1)


def test_twice_gives_the_same(protocol):
    """A protocol draws nothing that is not seeded."""
    first, second = (list(protocol.evaluate(given(shuffled=True))) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.metric, a.value, a.low, a.high) == (b.metric, b.value, b.low, b.high)


def test_order_of_training_images_does_not_matter(protocol):
    """The train split is a set."""
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    assert headline(protocol, given(order=order)) == headline(protocol, given())


def test_ten_test_images_are_enough(protocol):
    """A handful of test images gives numbers with intervals, not a crash."""
    for number in protocol.evaluate(given(test=10)):
        assert number.low is None or number.low <= number.value <= number.high


def test_numbers_carry_intervals_and_predictions(protocol):
    """The headline comes with its interval and one prediction an image, so that it can be checked and compared."""
    number = next(n for n in protocol.evaluate(given()) if n.metric == protocol.headline)
    assert number.low <= number.value <= number.high
    assert number.predictions.shape == (400,)


def test_features_that_are_no_numbers_are_told(protocol):
    """NaN features are one line that names them, not a number."""
    broken = given()
    broken.features["train"][3, 1] = torch.nan
    with pytest.raises(UserError, match="NaN") as told:
        list(protocol.evaluate(broken))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("change", "told"), [({"classes": ("a",)}, "one class"), ({"test_images": 1}, "1 test image")])
def test_data_that_cannot_answer_are_refused(protocol, change, told):
    """One class, or a single test image, is one line before any work; the least that can be judged is not."""
    least = {"image_size": 32, "classes": ("a", "b"), "train_images": 40, "test_images": 2}
    protocol.check(DatasetInfo(name="toys", identity="0", **least))
    with pytest.raises(UserError, match=rf"toys: .*{told}"):
        protocol.check(DatasetInfo(name="toys", identity="0", **least | change))


def test_is_frozen_and_its_card_says_everything(protocol):
    """A protocol cannot change after it was built, and its card holds every setting."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.taps = ()
    assert protocol.card().keys() == {f.name for f in dataclasses.fields(protocol)}


def test_encoder_is_bit_identical_afterwards(protocol, tiny):
    """Probing changes no weight and no batch-norm statistic."""
    from sslbench.bench.encoders.convnet import ConvNet

    encoder = ConvNet(32, width=4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    list(protocol.evaluate(Representation(encoder, tiny, "data", torch.device("cpu"), "fp32")))
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not encoder.training
