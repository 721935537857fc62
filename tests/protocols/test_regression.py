"""Regression: R^2 agrees with scikit-learn, and what cannot be predicted is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from sslbench.bench.errors import UserError
from sslbench.protocols.regression import Regression, explained_variance
from tests.protocols.builders import ideal_representation


def test_explained_variance_agrees_with_scikit_learn() -> None:
    """For all images alike, and for images that were drawn several times."""
    generator = np.random.default_rng(0)
    truth, found = generator.random((2, 30, 3))
    draws = generator.multinomial(30, np.full(30, 1 / 30), 2)
    for counts, row in zip(
        (np.ones(30), *draws),
        explained_variance(np.vstack([np.ones(30), *draws]) / 30, (truth - found) ** 2, truth),
        strict=True,
    ):
        expected = r2_score(truth, found, sample_weight=counts, multioutput="raw_values")
        np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_errors_are_named_and_in_the_unit_of_the_number() -> None:
    """Two numbers of which the second is minus twice the first: its error is twice as large, its R^2 the same."""
    found = list(Regression(taps=("conv5",)).evaluate(ideal_representation(shuffled=True, train=200)))
    errors = {number.metric: number.value for number in found}
    assert errors["rmse_minus_twice_the_number"] == pytest.approx(2 * errors["rmse_number"], rel=1e-3)
    assert found[0].details is not None
    first, second = found[0].details["r2"].values()
    assert first == pytest.approx(second, abs=1e-3)


@pytest.mark.parametrize(
    ("split", "value", "message"),
    [("train", torch.nan, "NaN"), ("train", 3.0, "same target values"), ("test", 3.0, "the same value of 'number'")],
)
def test_targets_that_say_nothing_are_refused(split: str, value: float, message: str) -> None:
    """NaN and constant targets are an error in one line."""
    representation = ideal_representation()
    values = getattr(representation.dataset, split).values
    values[:] = value
    with pytest.raises(UserError, match=message):
        list(Regression(taps=("conv5",)).evaluate(representation))
