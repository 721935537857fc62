"""The linear probe's choices: pooling, all taps, and the papers' long way."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.planning.build import plan
from sslbench.bench.planning.plan import Request
from sslbench.protocols.linear import Linear


def seen(dataset: Dataset) -> Representation:
    torch.manual_seed(0)
    return Representation(ConvNet(32, width=4), dataset, "data", torch.device("cpu"), "fp32")


@pytest.mark.parametrize(
    ("encoder", "taps"),
    [("convnet", ("conv1", "conv2", "conv3", "conv4", "conv5")), ("nin", ("conv1", "conv2", "conv3", "conv4"))],
)
def test_all_taps_are_the_encoders(encoder: str, taps: tuple[str, ...]) -> None:
    """``--taps all`` is every tap that the encoder has, and the same cell as naming them."""
    asked, named = (
        plan(Request(methods=("random",), encoder=encoder, taps=given)).jobs[0].cells[0] for given in (("all",), taps)
    )
    assert asked.settings["taps"] == taps
    assert asked.key == named.key


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_papers_long_way_reads_what_the_short_way_reads(head: str, tiny: Dataset) -> None:
    """Views through the frozen encoder, again and again, say of the train images what they are."""
    representation = seen(tiny)
    representation.dataset = Dataset(**vars(tiny) | {"test": tiny.train})
    probe = Linear(taps=("conv2",), solver="sgd", head=head, epochs=60)  # type: ignore[arg-type]
    accuracy = next(iter(probe.evaluate(representation)))
    assert accuracy.value > 0.6
    assert accuracy.details == {}
    again = next(iter(probe.evaluate(representation)))
    assert (again.predictions == accuracy.predictions).all()  # type: ignore[union-attr]


def test_the_encoder_is_untouched_by_the_long_way(tiny: Dataset) -> None:
    """Neither weights nor batch statistics move, though views go through it."""
    representation = seen(tiny)
    before = {name: value.clone() for name, value in representation.encoder.state_dict().items()}
    list(Linear(taps=("conv4",), solver="sgd", epochs=1).evaluate(representation))
    assert all(torch.equal(value, before[name]) for name, value in representation.encoder.state_dict().items())


def test_pooling_is_a_setting_of_the_reading() -> None:
    """Maximum or average: each has features of its own."""
    assert {Linear(pooling=p).feature_specs()[0].pooling for p in ("average", "max")} == {"average", "max"}  # type: ignore[arg-type]


def test_no_epoch_is_refused() -> None:
    """A long way of no length is named."""
    with pytest.raises(UserError, match=r"linear\.epochs = 0"):
        Linear(epochs=0)
