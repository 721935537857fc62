"""Depth: how far away is what each pixel shows, read linearly from a frozen map?

Ridge regression on the features of single positions predicts the depth, which is enlarged to full resolution. Metrics
of Eigen, Puhrsch and Fergus, "Depth Map Prediction from a Single Image", NeurIPS 2014, section 4.2
(https://arxiv.org/abs/1406.2283): the root mean squared error, and the share of pixels whose depth is predicted within
a factor of 1.25.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from sslbench import FeatureSpec, Measurement, Metric, Panel, Representation, probes, statistics

from ._dense import Dense
from ._metrics_table import metrics_table
from ._pictures import as_grey, shown_images, shown_rows

if TYPE_CHECKING:
    from pandas import DataFrame

FACTOR = 1.25


def error_of_the_mean(representation: Representation) -> float:
    """The error of always answering with the mean depth of train."""
    train, test = representation.targets("train").depth, representation.targets("test").depth
    assert train is not None
    assert test is not None
    return float((test - train.mean()).square().mean().sqrt())


@dataclass(frozen=True, kw_only=True)
class DepthProbe(Dense):
    """Error of the depth that a linear map of each position's features predicts."""

    needs: ClassVar = frozenset({"depth"})
    headline: ClassVar = "rmse"
    metrics: ClassVar = (
        Metric("rmse", "m", higher_is_better=False, best=0, chance=error_of_the_mean),
        Metric("delta", "fraction", best=1),
    )

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the root mean squared error, and the share of pixels within a factor of 1.25."""
        for spec in self.feature_specs():
            model = self.fit(representation, spec)
            depth, squares, within = self.targets(representation, "test", spec, "depth"), [], []
            for where, found in probes.iter_enlarged(representation.test(spec), model.predict, depth.shape[1:]):
                truth, found = depth[where], found[:, 0]
                squares.append((found - truth).square().flatten(1).mean(1))
                positive = found.clamp_min(1e-6)
                within.append((torch.maximum(positive / truth, truth / positive) < FACTOR).float().flatten(1).mean(1))
            errors, shares = (torch.cat(parts).double().cpu().numpy() for parts in (squares, within))
            low, high = np.sqrt(statistics.bootstrap_mean_interval(errors))
            yield Measurement(
                tap=spec.tap,
                metric="rmse",
                value=float(np.sqrt(errors.mean())),
                ci_low=low,
                ci_high=high,
                details={"penalty": model.penalty},
            )
            low, high = statistics.bootstrap_mean_interval(shares)
            yield Measurement(tap=spec.tap, metric="delta", value=float(shares.mean()), ci_low=low, ci_high=high)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps."""
        return metrics_table(cls.headline, measured)

    def fit(self, representation: Representation, spec: FeatureSpec) -> probes.RidgeModel:
        """The linear map from features to depth; trained once per run."""

        def fit() -> probes.RidgeModel:
            depth = self.targets(representation, "train", spec, "depth")
            return self.fit_numbers(representation, spec, depth[:, None])

        model: probes.RidgeModel = representation.compute_once(representation.encoder, (self, spec), fit)
        return model

    def pictures(self, representation: Representation) -> list[Panel]:
        """Test pictures with their depth, near in black, and the depth that is predicted at the last tap."""
        spec = self.feature_specs()[-1]
        rows = shown_rows(representation, spec)
        depth = self.targets(representation, "test", spec, "depth")[rows]
        predict = self.fit(representation, spec).predict
        ((_, found),) = probes.iter_enlarged(representation.test(spec)[rows], predict, depth.shape[1:])
        low, high = depth.flatten(1).amin(1), depth.flatten(1).amax(1)
        errors = (found[:, 0] - depth).square().flatten(1).mean(1).sqrt()
        return [
            Panel(title="image", images=shown_images(representation, spec)),
            Panel(title="depth", images=as_grey(depth, low, high)),
            Panel(
                title=f"predicted at {spec.tap}",
                images=as_grey(found[:, 0], low, high),
                captions=tuple(f"error {error:.2f} m" for error in errors.tolist()),
            ),
        ]
