"""What every protocol must do. The list of protocols is the folder's, or the files given with ``--plugin``."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch

from sslbench.bench.data import Dataset, DatasetInfo
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.protocol import Protocol
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.run.examples import MAX_BYTES, check_panels, contact_sheet
from sslbench.bench.run.protocol_output import checked_measurements
from tests.builders import plugins_under_test
from tests.protocols.builders import ideal_for

PROTOCOLS = plugins_under_test("protocol")


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    """Each protocol with the settings of its preset "smoke" and one tap."""
    plugin = PROTOCOLS[request.param]
    presets = plugin.constants.get("presets") or {}
    built: Protocol = plugin.load()(taps=("conv5",), **presets.get("smoke", {}))
    return built


def headline(protocol: Protocol, representation: Representation) -> Measurement:
    """The measurement that tables show."""
    return next(number for number in protocol.evaluate(representation) if number.metric == protocol.headline)


def test_ideal_features_score_best(protocol: Protocol) -> None:
    """Where features are the answer, the headline is its best value: an accuracy is 1, an error nearly 0."""
    metric, representation = protocol.metric_of(protocol.headline), ideal_for(protocol)
    assert metric is not None
    if metric.best is not None:
        value, chance = headline(protocol, representation).value, metric.chance_on(representation)
        assert value == metric.best or (
            chance is not None and abs(value - metric.best) < 0.1 * abs(chance - metric.best)
        )


def test_shuffled_targets_score_chance(protocol: Protocol) -> None:
    """Where features say nothing about the question, the headline is at the chance level that is declared for it."""
    metric, representation = protocol.metric_of(protocol.headline), ideal_for(protocol, train=400, shuffled=True)
    assert metric is not None
    chance = metric.chance_on(representation)
    if protocol.needs and chance is not None:  # what is asked about the images themselves cannot be shuffled
        scale = 1.0 if metric.best is None else abs(metric.best - chance)
        assert headline(protocol, representation).value == pytest.approx(chance, abs=0.13 * scale)


def test_every_measurement_is_of_a_declared_metric(protocol: Protocol) -> None:
    """The headline is among `metrics`, and so is everything that is yielded."""
    assert protocol.headline in {metric.name for metric in protocol.metrics}
    for number in protocol.evaluate(ideal_for(protocol)):
        assert protocol.metric_of(number.metric) is not None


def test_the_headline_falls_to_chance_as_the_signal_is_destroyed(protocol: Protocol) -> None:
    """With ever more noise in the features the headline never improves beyond its interval, and ends at chance.

    What is asked about the images themselves, with the noise in them, needs not fall.
    """
    metric = protocol.metric_of(protocol.headline)
    assert metric is not None
    steps = [headline(protocol, ideal_for(protocol, train=200, noise=noise)) for noise in (0, 0.2, 0.5, 1, 100)]
    sign = 1 if metric.higher_is_better else -1
    for before, after in pairwise(steps) if protocol.needs else ():
        slack = max(
            abs(before.value - (before.ci_low or before.value)), abs(after.value - (after.ci_low or after.value))
        )
        assert sign * after.value <= sign * before.value + 2 * slack + 1e-9
    chance = metric.chance_on(ideal_for(protocol, train=200, noise=100))
    if protocol.needs and chance is not None:
        scale = 1.0 if metric.best is None else abs(metric.best - chance)
        assert steps[-1].value == pytest.approx(chance, abs=0.15 * scale)


def test_results_repeat(protocol: Protocol) -> None:
    """All randomness of a protocol is seeded."""
    first, second = (list(protocol.evaluate(ideal_for(protocol, shuffled=True))) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.metric, a.value, a.ci_low, a.ci_high) == (b.metric, b.value, b.ci_low, b.ci_high)


def test_the_order_of_train_images_does_not_matter(protocol: Protocol) -> None:
    """The train split is a set."""
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    expected = headline(protocol, ideal_for(protocol)).value
    assert headline(protocol, ideal_for(protocol, order=order)).value == expected


def test_ten_test_images_are_enough(protocol: Protocol) -> None:
    """A handful of test images gives measurements with intervals."""
    for number in protocol.evaluate(ideal_for(protocol, test=10)):
        assert number.ci_low is None or number.ci_low <= number.value <= number.ci_high


def test_the_headline_has_an_interval_and_predictions(protocol: Protocol) -> None:
    """The headline has an interval that contains it; an accuracy also has one prediction per test image."""
    number = headline(protocol, ideal_for(protocol))
    assert number.ci_low is not None
    assert number.ci_high is not None
    assert number.ci_low <= number.value <= number.ci_high
    if protocol.headline == "accuracy":
        assert number.predictions is not None
        assert number.predictions.shape == (400,)


def test_what_it_yields_can_be_stored(protocol: Protocol) -> None:
    """Every measurement passes the check of `run.protocol_output`, of three test images too."""
    assert list(checked_measurements(protocol, ideal_for(protocol)))
    assert list(checked_measurements(protocol, ideal_for(protocol, train=16, test=3)))


def test_a_perfect_accuracy_has_an_interval_with_a_width(protocol: Protocol) -> None:
    """45 of 45 right is no proof that every image would be."""
    found = [one for one in protocol.evaluate(ideal_for(protocol, test=45)) if "accuracy" in one.metric]
    assert found or protocol.headline != "accuracy"
    for number in found if protocol.headline == "accuracy" else ():
        assert number.ci_low is not None
        assert number.ci_high is not None
        assert number.ci_high - number.ci_low > 0.05


def test_features_that_are_not_finite_are_refused(protocol: Protocol) -> None:
    """NaN features raise UserError with one line that names them."""
    broken = ideal_for(protocol)
    for split in (broken.dataset.train, broken.dataset.test):
        split.images[3, 1] = torch.nan  # type: ignore[index]
        if split.clips is not None:
            split.clips[3, 1] = torch.nan
    with pytest.raises(UserError, match="NaN") as error:
        list(protocol.evaluate(broken))
    assert "\n" not in str(error.value)


def test_pictures_fit_their_sheet(protocol: Protocol, tiny: Dataset) -> None:
    """They are columns of at most 6 rows in a small file, the same each time, or there are none."""
    representation = Representation(ConvNet(32, width=4), tiny, "data", torch.device("cpu"), "fp32")
    for panels in (protocol.pictures(representation), protocol.pictures(representation)):
        if panels:
            check_panels(panels)
            assert len(contact_sheet([panel.images for panel in panels])) <= MAX_BYTES
    for first, second in zip(protocol.pictures(representation), panels, strict=True):
        assert torch.equal(first.images, second.images)
        assert first.captions == second.captions


@pytest.mark.parametrize(
    ("change", "message"), [({"classes": ("a",)}, "one class"), ({"test_images": 1}, "1 test image")]
)
def test_data_that_cannot_be_evaluated_are_refused(protocol: Protocol, change: dict, message: str) -> None:
    """One class, or a single test image, raises UserError; two classes and two test images are enough."""
    least = {"image_size": 32, "classes": ("a", "b"), "train_images": 400, "test_images": 2}
    protocol.check(DatasetInfo(name="toys", identity="0", **least))
    if "classes" in change and "labels" not in protocol.needs:
        return
    with pytest.raises(UserError, match=rf"toys: .*{message}"):
        protocol.check(DatasetInfo(name="toys", identity="0", **least | change))


def test_a_protocol_is_frozen_and_its_card_has_every_setting(protocol: Protocol) -> None:
    """A protocol cannot be changed after it was built, and its card holds every setting.

    One that was added after records had been made is left out while it has its default.
    """
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.taps = ()  # type: ignore[misc]
    names = {field.name for field in dataclasses.fields(protocol)}
    assert protocol.card().keys() == names - protocol.later_settings.keys()
    for name, default in protocol.later_settings.items():
        assert getattr(protocol, name) == default
    changed = dict.fromkeys(protocol.later_settings, "token")
    assert dataclasses.replace(protocol, **changed).card().keys() == names


def test_the_encoder_is_bit_identical_afterwards(protocol: Protocol, tiny: Dataset) -> None:
    """A protocol changes no weight and no batch-norm statistic of the encoder."""
    encoder = ConvNet(32, width=4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    representation = Representation(
        encoder, tiny, "data", torch.device("cpu"), "fp32", build_encoder=lambda: ConvNet(32, width=4)
    )
    list(protocol.evaluate(representation))
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
