"""Regression: can numbers that describe an image be read linearly from frozen features?

Ridge regression on standardised features predicts all numbers at once; its penalty is chosen on a held-out part of
train. The numbers are what the data set calls its values, such as places, sizes and angles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Interval

from sslbench import (
    Count,
    FeatureSpec,
    Measurement,
    Metric,
    Pooling,
    Protocol,
    Representation,
    UserError,
    probes,
    statistics,
)

from ._grids import grids_of
from ._metrics_table import metrics_table

if TYPE_CHECKING:
    from pandas import DataFrame

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # per row of standardised features


@dataclass(frozen=True, kw_only=True)
class Regression(Protocol):
    """Explained variance of the numbers that a linear map of each frozen tap predicts."""

    features: Count = 2048  # each tap is pooled to at most so many values
    pooling: Pooling = "average"
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.1  # share of train on which the penalty is chosen
    presets: ClassVar = {"smoke": {"features": 512}}
    needs: ClassVar = frozenset({"values"})
    headline: ClassVar = "r2"
    metrics: ClassVar = (Metric("r2", best=1, chance=0), Metric("rmse", higher_is_better=False, best=0))

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """A grid of each tap."""
        return grids_of(self.taps, self.features, self.pooling)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean R^2 over the numbers, and each number's error in its own unit."""
        names = representation.dataset.value_names
        train, test = (representation.targets(split).values for split in ("train", "test"))
        assert train is not None
        assert test is not None
        check_varying(test, names)
        for spec in self.feature_specs():
            model = probes.ridge_probe(representation.train(spec), train, PENALTIES, held_out=self.held_out)
            truth = test.double().numpy()
            squares = (model.predict(representation.test(spec)).cpu().double().numpy() - truth) ** 2
            interval = partial(mean_explained_variance, squares=squares, truth=truth)
            low, high = statistics.bootstrap_interval(interval, len(truth))
            by_name = explained_variance(np.full((1, len(truth)), 1 / len(truth)), squares, truth)[0]
            details = {"penalty": model.penalty, "r2": dict(zip(names, by_name.round(4).tolist(), strict=True))}
            yield Measurement(
                tap=spec.tap, metric="r2", value=float(by_name.mean()), ci_low=low, ci_high=high, details=details
            )
            for name, of_number in zip(names, squares.T, strict=True):
                value = float(np.sqrt(of_number.mean()))
                yield Measurement(tap=spec.tap, metric=f"rmse_{name.replace(' ', '_')}", value=value)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps."""
        return metrics_table(cls.headline, measured)


def explained_variance(weights: np.ndarray, squares: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """R^2 (draws, V) of numbers with squared errors and true values (N, V), for weights of the images (draws, N)."""
    mean, mean_of_squares = weights @ truth, weights @ truth**2
    variance = np.maximum(mean_of_squares - mean**2, 1e-30)
    found: np.ndarray = 1 - (weights @ squares) / variance
    return found


def mean_explained_variance(draws: np.ndarray, *, squares: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The mean of `explained_variance` over the numbers, for images drawn so many times (draws, N)."""
    mean: np.ndarray = explained_variance(draws / len(truth), squares, truth).mean(1)
    return mean


def check_varying(values: torch.Tensor, names: tuple[str, ...]) -> None:
    """Raises UserError for a number that is the same for all test images."""
    for name, column in zip(names, values.T, strict=True):
        if float(column.max()) == float(column.min()):
            raise UserError(f"every test image has the same value of {name!r}: nothing can be predicted; leave it out.")
