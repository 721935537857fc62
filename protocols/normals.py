"""Surface normals: which way does the surface that each pixel shows face, read linearly from a frozen map?

The true normals follow from the depth: a pixel's surface is spanned by the differences of depth to its right and below,
with the pixel's width as the unit of length at depth 1. Ridge regression on the features of single positions predicts
the three components. The error is the angle between both, as in Wang, Fouhey and Gupta, "Designing Deep Networks for
Surface Normal Estimation", CVPR 2015, section 5 (https://arxiv.org/abs/1411.4958).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Measurement, Metric, Representation, probes, statistics

from ._dense import Dense
from ._metrics_table import metrics_table

if TYPE_CHECKING:
    from pandas import DataFrame

FIELD_OF_VIEW = 1.0  # width of the picture at depth 1
NEAR = 30.0  # degrees; the share of pixels with a smaller error is the second number


def normals_of(depth: Tensor) -> Tensor:
    """Depth (N, H, W) -> unit normals (N, 3, H, W) that point to the camera; right and down are positive."""
    pixel = FIELD_OF_VIEW / depth.shape[-1] * depth
    right = F.pad(depth, (0, 1, 0, 0), mode="replicate")[..., 1:] - depth
    down = F.pad(depth, (0, 0, 0, 1), mode="replicate")[..., 1:, :] - depth
    return F.normalize(torch.stack([right / pixel, down / pixel, -torch.ones_like(depth)], 1), dim=1)


def angles_between(first: Tensor, second: Tensor) -> Tensor:
    """Angles (N, H, W) in degrees between vectors (N, 3, H, W)."""
    cosines = (F.normalize(first, dim=1) * F.normalize(second, dim=1)).sum(1)
    return cosines.clamp(-1, 1).acos().rad2deg()


def error_of_the_mean(representation: Representation) -> float:
    """The error of always answering with the mean normal of train."""
    train, test = representation.targets("train").depth, representation.targets("test").depth
    assert train is not None
    assert test is not None
    mean = normals_of(train).mean((0, 2, 3))
    truth = normals_of(test)
    return float(angles_between(mean[None, :, None, None].expand_as(truth), truth).mean())


@dataclass(frozen=True, kw_only=True)
class Normals(Dense):
    """Angular error of the surface normals that a linear map of each position's features predicts."""

    needs: ClassVar = frozenset({"depth"})
    headline: ClassVar = "angular_error"
    metrics: ClassVar = (
        Metric("angular_error", "°", higher_is_better=False, best=0, chance=error_of_the_mean),
        Metric("within_30", "fraction", best=1),
    )

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean angle, and the share of pixels with an angle below 30 degrees."""
        for spec in self.feature_specs():
            model = self.fit_numbers(
                representation, spec, normals_of(self.targets(representation, "train", spec, "depth"))
            )
            truth = normals_of(self.targets(representation, "test", spec, "depth"))
            angles = torch.cat(
                [
                    angles_between(found, truth[where])
                    for where, found in probes.iter_enlarged(representation.test(spec), model.predict, truth.shape[2:])
                ]
            ).flatten(1)
            for metric, per_picture in (("angular_error", angles), ("within_30", angles < NEAR)):
                values = per_picture.double().mean(1).cpu().numpy()
                low, high = statistics.bootstrap_mean_interval(values)
                yield Measurement(tap=spec.tap, metric=metric, value=float(values.mean()), ci_low=low, ci_high=high)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps."""
        return metrics_table(cls.headline, measured)
