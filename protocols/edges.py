"""Edges: does a frozen map say where one thing ends and another begins?

Ridge regression on the features of single positions predicts the share of border pixels at a position; enlarged to
full resolution, its answers are ranked. The number is the average precision over all pixels of a picture, without the
tolerance in place of Martin, Fowlkes and Malik, "Learning to Detect Natural Image Boundaries", PAMI 2004. Borders are
the pixels whose right or lower neighbour has another class in the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import VOID, Measurement, Metric, Representation, probes, statistics

from ._dense import Dense


def borders_of(masks: Tensor) -> Tensor:
    """Masks (N, H, W) -> which pixels are a border, bool (N, H, W); unknown pixels have none."""
    right = F.pad(masks, (0, 1, 0, 0), value=VOID)[..., 1:]
    below = F.pad(masks, (0, 0, 0, 1), value=VOID)[..., 1:, :]
    known = masks != VOID
    return known & (((right != masks) & (right != VOID)) | ((below != masks) & (below != VOID)))


def share_of_borders(representation: Representation) -> float:
    """The average precision of a random ranking: the share of border pixels."""
    masks = representation.targets("test").masks
    assert masks is not None
    borders = borders_of(masks).flatten(1)
    return float(borders[borders.any(1)].float().mean())


@dataclass(frozen=True, kw_only=True)
class Edges(Dense):
    """Average precision of borders between classes, read linearly from the positions of a frozen map."""

    needs: ClassVar = frozenset({"masks"})
    headline: ClassVar = "average_precision"
    metrics: ClassVar = (Metric("average_precision", "fraction", chance=share_of_borders),)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean average precision of the pictures that have a border."""
        for spec in self.feature_specs():
            borders = borders_of(self.targets(representation, "train", spec, "masks"))
            model = self.fit_numbers(representation, spec, borders[:, None].float())
            truth = borders_of(self.targets(representation, "test", spec, "masks"))
            found = [
                probes.average_precision(scores.flatten(1).T, truth[where].flatten(1).T)
                for where, scores in probes.iter_enlarged(representation.test(spec), model.predict, truth.shape[1:])
            ]
            values = torch.cat(found).cpu().numpy()
            values = values[np.isfinite(values)]
            low, high = statistics.bootstrap_mean_interval(values)
            yield Measurement(
                tap=spec.tap, metric="average_precision", value=float(values.mean()), ci_low=low, ci_high=high
            )
