"""Robustness: how much accuracy is left if test pictures are noisy, blurred, compressed or too bright?

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
section 4 (https://arxiv.org/abs/1903.12261). A linear classifier is fitted once to the features of clean train images,
as in the protocol "linear"; test pictures are corrupted at five severities. See `_corruptions` for the constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Interval, MinLen
from torch import Tensor

from sslbench import (
    Count,
    FeatureSpec,
    Measurement,
    Metric,
    Pooling,
    Protocol,
    Representation,
    evenly_spaced,
    probes,
    statistics,
)

from ._corruptions import CORRUPTIONS, SEVERITIES, corruption
from ._metrics_table import metrics_table
from ._severities import draw_severities

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

CHANCE = Protocol.metrics[0].chance  # of an accuracy


@dataclass(frozen=True, kw_only=True)
class Robustness(Protocol):
    """Accuracy of a linear classifier on corrupted pictures, by itself and relative to clean ones."""

    images: Count = 2000  # test images, evenly spaced
    features: Count = 2048  # each tap is pooled to at most so many values
    pooling: Pooling = "average"
    strengths: Annotated[tuple[Annotated[float, Interval(ge=1e-9, le=1e9)], ...], MinLen(1)] = (1e-4, 1e-3, 0.01, 0.1)
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.1  # share of train on which the strength is chosen
    presets: ClassVar = {"smoke": {"images": 500, "features": 512}}
    headline: ClassVar = "corrupted_accuracy"
    metrics: ClassVar = (
        Metric("corrupted_accuracy", "fraction", best=1, chance=CHANCE),
        Metric("relative_accuracy"),
        Metric("clean_accuracy", "fraction", best=1, chance=CHANCE),
        *(Metric(f"accuracy_{name}", "fraction", best=1, chance=CHANCE) for name in CORRUPTIONS),
    )

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """A grid of each tap."""
        max_dim = self.features if self.pooling in ("average", "max") else None
        return tuple(FeatureSpec(tap, max_dim, self.pooling) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean accuracy over all corruptions, and those of clean pictures, each corruption and severity."""
        chosen = evenly_spaced(len(representation.test_labels), self.images)
        labels = representation.test_labels[chosen].to(representation.device)
        for spec in self.feature_specs():
            weights, bias, details = self.fit_classifier(representation, spec)

            def answers(features: Tensor, weights: Tensor = weights, bias: Tensor = bias) -> np.ndarray:
                probes.check_features(features)
                right: np.ndarray = ((features @ weights + bias).argmax(1) == labels).cpu().numpy()
                return right

            clean = answers(representation.test(spec)[chosen.to(representation.device)])
            corrupted = {
                name: np.stack([answers(self.corrupted_features(representation, spec, name, s)) for s in SEVERITIES])
                for name in CORRUPTIONS
            }
            means = np.concatenate(list(corrupted.values())).mean(0)
            low, high = statistics.bootstrap_mean_interval(means)
            headline, share = "corrupted_accuracy", float(means.mean())
            yield Measurement(tap=spec.tap, metric=headline, value=share, ci_low=low, ci_high=high, details=details)
            if clean.any():
                yield Measurement(tap=spec.tap, metric="relative_accuracy", value=share / float(clean.mean()))
            low, high = statistics.accuracy_interval(clean)
            value = float(clean.mean())
            yield Measurement(tap=spec.tap, metric="clean_accuracy", value=value, ci_low=low, ci_high=high)
            for name, right in corrupted.items():
                low, high = statistics.bootstrap_mean_interval(right.mean(0))
                value = float(right.mean())
                yield Measurement(tap=spec.tap, metric=f"accuracy_{name}", value=value, ci_low=low, ci_high=high)
                for severity, of_severity in zip(SEVERITIES, right, strict=True):
                    metric = f"accuracy_{name}_{severity}"
                    yield Measurement(tap=spec.tap, metric=metric, value=float(of_severity.mean()))

    def fit_classifier(
        self, representation: Representation, spec: FeatureSpec
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Weights (D, K) and bias (K,) of logistic regression on clean train features, and what was chosen."""
        train, labels = representation.train(spec), representation.train_labels.to(representation.device)
        result = probes.linear_probe(
            train, labels, train[:1], representation.num_classes, strengths=self.strengths, held_out=self.held_out
        )
        assert result.linear is not None
        return *result.linear, {"strength": result.strength, "strength_choice": result.choice}

    def corrupted_features(self, representation: Representation, spec: FeatureSpec, name: str, severity: int) -> Tensor:
        """Features (n, D) of the corrupted test pictures."""
        change = corruption(name, severity, representation.dataset.image_size)
        with torch.inference_mode():
            return representation.changed_features(spec, change, self.images)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps; single severities are in the figure."""
        names = [metric.name for metric in cls.metrics]
        return metrics_table(cls.headline, measured[measured["metric"].isin(names)])

    @classmethod
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """Accuracy over severity at the last tap, a panel per corruption."""
        draw_severities(measured, cls.headline, tuple(CORRUPTIONS), figure)
