"""Geometry: what do frozen features look like as a set of points, without any labels?

Effective rank (RankMe): Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised
Representations by Their Rank", ICML 2023, section 3 (https://arxiv.org/abs/2210.02885). Alpha, the decay of the
spectrum: Agrawal et al., "alpha-ReQ", NeurIPS 2022, section 3. Alignment of two views and uniformity: Wang and Isola,
"Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere", ICML 2020,
section 4.1 (https://arxiv.org/abs/2005.10242). Spread: Chen and He, "Exploring Simple Siamese Representation
Learning", CVPR 2021, section 4.1. How similar the features of two methods are: linear CKA of Kornblith et al.,
"Similarity of Neural Network Representations Revisited", ICML 2019 (https://arxiv.org/abs/1905.00414).

None of these says alone that features are good: RankMe was made to choose among the settings of one method. A decay
near 1 is said to be best, so it has no direction and is not ranked; nor are dead features, which most methods lack.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import normalize

from sslbench import FeatureSpec, Measurement, Metric, Pooling, Protocol, Representation, evenly_spaced, probes

from ._metrics_table import metrics_table
from ._similarity import SKETCH, draw_similarity, similarity_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

SKETCHED = 1000  # test images, evenly spaced, whose features are stored for the comparison of methods
COMPONENTS = 32  # principal components of them; the CKA of the bundled encoders then has an error below 0.01
UNRANKED = ("spectrum_decay", "dead_features")
GROUPS = 10  # of images, each left out once for the interval of the rank
T_QUANTILE = 2.262  # of Student's t with GROUPS - 1 degrees of freedom, for 95 %


@dataclass(frozen=True, kw_only=True)
class Geometry(Protocol):
    """Effective rank, decay of the spectrum, alignment, uniformity and spread of one vector per test image."""

    images: Annotated[int, Ge(2)] = 2000  # test images, evenly spaced
    pooling: Pooling = "average"  # to one vector per image
    presets: ClassVar = {"smoke": {"images": 500}}
    needs: ClassVar = frozenset[str]()
    headline: ClassVar = "effective_rank"
    metrics: ClassVar = (
        Metric("effective_rank"),
        Metric("spectrum_decay"),
        Metric("alignment", higher_is_better=False, best=0),
        Metric("uniformity", higher_is_better=False),
        Metric("spread"),
        Metric("dead_features", "fraction", higher_is_better=False, best=0),
    )

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """One vector per image at each tap."""
        return tuple(FeatureSpec(tap, pooling=self.pooling, images=self.images) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields every metric at each tap; the effective rank carries the principal components of the features."""
        for spec in self.feature_specs():
            features = representation.test(spec)
            probes.check_features(features)
            rank = probes.effective_rank(features)
            half = T_QUANTILE * rank_error(features)
            arrays = {SKETCH: principal_components(features[evenly_spaced(len(features), SKETCHED)])}
            low, high = rank - half, rank + half
            yield Measurement(
                tap=spec.tap, metric="effective_rank", value=rank, ci_low=low, ci_high=high, arrays=arrays
            )
            numbers = {
                "spectrum_decay": probes.spectrum_decay(features),
                "alignment": probes.alignment(*representation.two_view_features(spec, self.images)),
                "uniformity": probes.uniformity(features),
                "spread": spread(features),
                "dead_features": share_of_dead_features(features),
            }
            for metric, value in numbers.items():
                if math.isfinite(value):  # equal features have no spectrum
                    yield Measurement(tap=spec.tap, metric=metric, value=value)

    @classmethod
    def ranking_groups(cls, measured: DataFrame) -> Series:
        """Each metric by itself; the decay of the spectrum and dead features are not ranked."""
        return measured["metric"].where(~measured["metric"].isin(UNRANKED))

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps, then the method with the most similar features for each."""
        return metrics_table(cls.headline, measured) + similarity_table(measured, cls.headline)

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """What similarity means."""
        return [
            f"similarity of features: linear CKA of {COMPONENTS} principal components of up to {SKETCHED:,} test images"
        ]

    @classmethod
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """A heat map of the similarity of all methods' features at the last tap."""
        draw_similarity(measured, cls.headline, figure)


def rank_error(features: Tensor) -> float:
    """The standard error of the effective rank of features (N, D), by a jackknife that leaves out groups of images.

    Shao and Tu, "The Jackknife and Bootstrap", 1995, section 2.3. A bootstrap would draw images twice, and repeated
    images lower a rank.
    """
    groups = min(GROUPS, len(features))
    group = torch.arange(len(features), device=features.device) % groups
    ranks = np.array([probes.effective_rank(features[group != left_out]) for left_out in range(groups)])
    return float(np.sqrt((groups - 1) / groups * ((ranks - ranks.mean()) ** 2).sum()))


def principal_components(features: Tensor) -> np.ndarray:
    """Features (N, D) -> float16 (N, R): the centred features along their R <= 32 main directions, at most 1 large."""
    centred = features.double() - features.double().mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    components = (left * values)[:, :COMPONENTS]
    scaled: np.ndarray = (components / components.abs().max().clamp_min(1e-30)).half().cpu().numpy()
    return scaled


def spread(features: Tensor) -> float:
    """The standard deviation of normalised features (N, D), averaged over D, times sqrt(D): 0 if all are equal."""
    return float(normalize(features.double(), dim=1).std(0).mean()) * math.sqrt(features.shape[1])


def share_of_dead_features(features: Tensor) -> float:
    """The share of the D columns of features (N, D) that have the same value for all images."""
    return float((features == features[0]).all(0).double().mean())
