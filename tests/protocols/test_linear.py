"""The settings of ``linear``: pooling, ``--taps all``, and training on views with ``solver = sgd``."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Request
from sslbench.protocols.linear import Linear
from tests.protocols.builders import ideal_representation


def represent(dataset: Dataset) -> Representation:
    """The representation of a data set under a small random encoder."""
    torch.manual_seed(0)
    return Representation(ConvNet(32, width=4), dataset, "data", torch.device("cpu"), "fp32")


@pytest.mark.parametrize(
    ("encoder", "taps"),
    [("convnet", ("conv1", "conv2", "conv3", "conv4", "conv5")), ("nin", ("conv1", "conv2", "conv3", "conv4"))],
)
def test_all_taps_are_the_encoders(encoder: str, taps: tuple[str, ...]) -> None:
    """``--taps all`` selects every tap of the encoder, and gives the same cell as naming them."""
    asked, named = (
        build_plan(Request(methods=("random",), encoder=encoder, taps=given)).jobs[0].cells[0]
        for given in (("all",), taps)
    )
    assert asked.settings["taps"] == taps
    assert asked.key == named.key


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_sgd_learns_the_train_images(head: str, tiny: Dataset) -> None:
    """Trained on views through the frozen encoder, a classifier recognises the train images, and repeats."""
    representation = represent(tiny)
    representation.dataset = Dataset(**vars(tiny) | {"test": tiny.train})
    probe = Linear(taps=("conv2",), solver="sgd", head=head, epochs=60)  # type: ignore[arg-type]
    accuracy = next(iter(probe.evaluate(representation)))
    assert accuracy.value > 0.6
    assert accuracy.details == {}
    again = next(iter(probe.evaluate(representation)))
    assert (again.predictions == accuracy.predictions).all()  # type: ignore[union-attr]


def test_sgd_does_not_change_the_encoder(tiny: Dataset) -> None:
    """Neither weights nor batch statistics change, although views pass through the encoder."""
    representation = represent(tiny)
    before = {name: value.clone() for name, value in representation.encoder.state_dict().items()}
    list(Linear(taps=("conv4",), solver="sgd", epochs=1).evaluate(representation))
    assert all(torch.equal(value, before[name]) for name, value in representation.encoder.state_dict().items())


def test_pooling_is_part_of_the_feature_spec() -> None:
    """Maximum and average pooling have different feature specs."""
    assert {Linear(pooling=p).feature_specs()[0].pooling for p in ("average", "max")} == {"average", "max"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("per_class", "details"),
    [
        (1, {"strength": 1.0, "strength_choice": "not chosen"}),
        (4, {"strength_choice": "cross-validated"}),
        (40, {"strength_choice": "held out"}),
    ],
)
def test_a_record_says_how_the_strength_was_chosen(per_class: int, details: dict) -> None:
    """Where nothing can be held out, no validation accuracy is recorded."""
    number = next(iter(Linear(taps=("conv5",)).evaluate(ideal_representation(train=4 * per_class))))
    assert number.details is not None
    assert number.details.items() >= details.items()
    assert ("validation_accuracy" in number.details) == (per_class > 1)


@pytest.mark.parametrize("strength", [math.inf, math.nan, 1e-320, 1e308, 0.0])
def test_strengths_out_of_range_are_refused(strength: float) -> None:
    """Infinite, tiny and huge strengths, with which float32 cannot compute, are refused."""
    with pytest.raises(UserError, match=r"linear\.strengths = "):
        Linear(strengths=(0.1, strength))


@pytest.mark.parametrize("other", [{"head": "mlp"}, {"solver": "sgd"}])
def test_strengths_that_would_do_nothing_are_refused(other: dict) -> None:
    """The record would claim strengths that were not used."""
    with pytest.raises(UserError, match=r"linear\.strengths: .*would do nothing"):
        Linear(strengths=(0.1,), **other)


def test_zero_epochs_are_refused() -> None:
    """The message names the setting."""
    with pytest.raises(UserError, match=r"linear\.epochs = 0"):
        Linear(epochs=0)
