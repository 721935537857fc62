"""Several labels per image: which of many things are in it, read linearly from frozen features?

One logistic regression per label on standardised features; the strength, the same for all labels, is chosen on a
held-out part of train. The number is the mean average precision over the labels, as in the PASCAL VOC challenge
(Everingham et al., IJCV 2010, section 4.2.2) without its interpolation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

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
    UserError,
    probes,
    statistics,
)

from ._grids import grids_of


def mean_share_of_positives(representation: Representation) -> float:
    """The mean average precision of random rankings."""
    labels = representation.targets("test").multi_labels
    assert labels is not None
    return float(labels[:, labels.any(0)].float().mean())


@dataclass(frozen=True, kw_only=True)
class MultiLabel(Protocol):
    """Mean average precision of labels that one logistic regression per label predicts."""

    features: Count = 2048  # each tap is pooled to at most so many values
    pooling: Pooling = "average"
    strengths: Annotated[tuple[Annotated[float, Interval(ge=1e-9, le=1e9)], ...], MinLen(1)] = (1e-4, 1e-3, 0.01, 0.1)
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.1  # share of train on which the strength is chosen
    presets: ClassVar = {"smoke": {"features": 512}}
    needs: ClassVar = frozenset({"multi_labels"})
    headline: ClassVar = "mean_average_precision"
    metrics: ClassVar = (Metric("mean_average_precision", "fraction", best=1, chance=mean_share_of_positives),)

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """A grid of each tap."""
        return grids_of(self.taps, self.features, self.pooling)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean average precision at each tap."""
        train, test = (representation.targets(split).multi_labels for split in ("train", "test"))
        assert train is not None
        assert test is not None
        if not test.any():
            raise UserError("no test image has a label: there is nothing to find.")
        for spec in self.feature_specs():
            scores, strength = self.fit_labels(representation, spec, train)
            truth = test.to(scores.device)
            precisions = probes.average_precision(scores, truth)
            names = representation.dataset.label_names
            details: dict[str, Any] = {
                "strength": strength,
                "average_precision": {
                    name: round(float(value), 4)
                    for name, value in zip(names, precisions, strict=True)
                    if not value.isnan()
                },
            }
            interval = partial(resampled_precisions, scores=scores, truth=truth)
            low, high = statistics.bootstrap_interval(interval, len(truth), draws=200)
            yield Measurement(
                tap=spec.tap,
                metric="mean_average_precision",
                value=float(precisions.nanmean()),
                ci_low=low,
                ci_high=high,
                details=details,
            )

    def fit_labels(self, representation: Representation, spec: FeatureSpec, labels: Tensor) -> tuple[Tensor, float]:
        """Scores (M, L) of the test images for labels (N, L) of train, and the strength that was chosen."""
        features, labels = representation.train(spec), labels.to(representation.device)
        keep = probes.rows_of_other_pictures(len(features), 1, self.held_out).to(labels.device)
        strengths = self.strengths
        if len(strengths) > 1 and 0 < int(keep.sum()) < len(keep):
            held_out = self.scores(features[keep], labels[keep], features[~keep], strengths)
            quality = [
                float(probes.average_precision(of_strength, labels[~keep]).nanmean()) for of_strength in held_out
            ]
            strengths = (strengths[int(np.argmax(np.nan_to_num(quality)))],)
        return self.scores(features, labels, representation.test(spec), strengths[:1])[0], strengths[0]

    def scores(self, train: Tensor, labels: Tensor, test: Tensor, strengths: tuple[float, ...]) -> Tensor:
        """Train (N, D) with labels (N, L), test (M, D) -> scores (S, M, L); 0 for a label that all or no image has."""
        train, test = standardise(train, test)
        columns = []
        for label in labels.long().T:
            if len(label.unique()) < 2:
                columns.append(torch.zeros(len(strengths), len(test), device=test.device))
                continue
            logits = probes.logistic_regression(train, label, 2, strengths).scores(test)
            columns.append(logits[..., 1] - logits[..., 0])
        return torch.stack(columns, -1)


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the mean and deviation of train; a feature that does not vary becomes 0."""
    deviation, mean = torch.std_mean(train, 0)
    scale = torch.where(deviation > 1e-6 * mean.abs() + 1e-30, 1 / deviation, 0)
    return (train - mean) * scale, (test - mean) * scale


def resampled_precisions(draws: np.ndarray, *, scores: Tensor, truth: Tensor) -> list[float]:
    """The mean average precision of each draw of the images (draws, N), from scores and truth (N, L)."""
    found = []
    for counts in torch.from_numpy(draws).long().to(scores.device):
        images = torch.arange(len(scores), device=scores.device).repeat_interleave(counts)
        found.append(float(probes.average_precision(scores[images], truth[images]).nanmean()))
    return found
