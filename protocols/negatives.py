"""Too few negatives or too many? Pretrains with different numbers, and looks for merged and split classes.

Under-clustering: with too few negatives an encoder does not separate the actual classes. Over-clustering: with very
many negatives images of one class are pushed apart. Both are measured with k-means. With more clusters than classes
all classes can be separated, so a lack of homogeneity means under-clustering. With fewer clusters than classes no
class has to be split, so a lack of completeness means over-clustering.

Also measured: linear and kNN accuracy (Wu et al. 2018, table 1, has them for several numbers of negatives), the share
of false negatives, alignment and uniformity (Wang and Isola 2020), and the InfoNCE bound on mutual information,
log N - loss, from the method's own training, with log N, which it cannot exceed (van den Oord et al. 2018).

SimCLR takes its negatives from the batch, so its batch size is varied. The budget of views stays the same, and the
learning rate is scaled with the square root of the batch size (Chen et al. 2020, appendix B.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Interval
from torch.nn.functional import normalize

from sslbench import (
    Count,
    DatasetInfo,
    FeatureSpec,
    Measurement,
    Metric,
    PositiveShare,
    Representation,
    UserError,
    evenly_spaced,
    probes,
    statistics,
)

from . import _sweep
from ._probing import Probing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series


AGREEMENTS = ("homogeneity", "completeness", "v_measure", "nmi", "ari", "hungarian")  # of clusters with classes


@dataclass(frozen=True, kw_only=True)
class Negatives(Probing):
    """Accuracies, clusters and geometry of the features, for each number of negatives."""

    taps: tuple[str, ...] = ("conv5",)
    neighbours: Count = 200  # k of kNN; the default is capped at the number of train images
    temperature: Annotated[float, Interval(ge=1e-6, le=1e6)] = 0.07
    below: PositiveShare = 0.5  # the smallest number of clusters, as a multiple of the number of classes
    above: Annotated[float, Interval(ge=1, le=1000)] = 4.0  # the largest number of clusters, likewise
    clustered: Count = 10_000  # train images, evenly spaced, that k-means clusters
    paired: Annotated[int, Ge(2)] = 2_000  # test images, evenly spaced, whose views and negatives are examined
    hardest: PositiveShare = 0.01  # share of all train images that count as the hardest negatives
    metrics: ClassVar = (
        *Probing.metrics,
        Metric("knn_accuracy", "fraction", best=1, chance=lambda representation: 1 / representation.num_classes),
        Metric("bound", "nats"),
        Metric("false_negatives", "fraction", higher_is_better=False),
        Metric("alignment", higher_is_better=False, best=0),
        Metric("uniformity", higher_is_better=False),
        *(Metric(name, "fraction", best=1) for name in AGREEMENTS),
    )
    variants: ClassVar = {
        "instdisc": {
            "negatives=1": {"negatives": 1},
            "negatives=16": {"negatives": 16},
            "negatives=256": {"negatives": 256},
            "negatives=4096": {"negatives": 4096},
        },
        "moco": {
            "negatives=16": {"negatives": 16},
            "negatives=256": {"negatives": 256},
            "negatives=4096": {"negatives": 4096},
            "negatives=16384": {"negatives": 16384},
        },
        "simclr": {
            "batch=16": {"recipe.batch_size": 16},
            "batch=64": {"recipe.batch_size": 64},
            "batch=256": {"recipe.batch_size": 256},
            "batch=1024": {"recipe.batch_size": 1024},
        },
    }

    def check(self, info: DatasetInfo) -> None:
        """Raises UserError where there are fewer train images than clusters, or than the neighbours that were set."""
        super().check(info)
        if self.neighbours > info.train_images and self.neighbours != Negatives.neighbours:
            raise UserError(
                f"negatives.neighbours = {self.neighbours}: {info.name} has only {info.train_images} train images; "
                f"--set negatives.neighbours={max(1, info.train_images // 10)} fits."
            )
        images, most = min(self.clustered, info.train_images), max(self.cluster_counts(len(info.classes)))
        if most > images:
            raise UserError(
                f"negatives.above = {self.above:g}: {most} clusters are more than the {images} train images of "
                f"{info.name} that are clustered; --set negatives.above=1 asks for {len(info.classes)}."
            )

    def cluster_counts(self, classes: int) -> tuple[int, ...]:
        """Numbers of clusters below, at and above the number of classes, ascending."""
        wanted = (max(2, round(self.below * classes)), classes, round(self.above * classes))
        return tuple(sorted(set(wanted)))

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """A grid of each tap for the classifier, and one vector per image for everything else."""
        return (*self.grid_specs(), *map(self.vector_spec, self.taps))

    def vector_spec(self, tap: str) -> FeatureSpec:
        """One vector per image: the mean of the tap's map, unless ``pooling`` says that the class token is read."""
        return FeatureSpec(tap, pooling="average" if self.pooling == "max" else self.pooling)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields all lines of the table, at each tap."""
        yield from super().evaluate(representation)
        if math.isfinite(representation.pretext.get("bound", math.nan)):
            yield Measurement(tap=self.taps[0], metric="bound", value=representation.pretext["bound"])
        for tap in self.taps:
            yield from self.measure_neighbours(tap, representation)
            yield from self.measure_views(tap, representation)
            yield from self.measure_clusters(tap, representation)

    def measure_neighbours(self, tap: str, representation: Representation) -> Iterator[Measurement]:
        """Yields the accuracy of kNN and the shares of false negatives."""
        spec, device = self.vector_spec(tap), representation.device
        bank, labels = representation.train(spec), representation.train_labels.to(device)
        queries, truth = representation.test(spec), representation.test_labels.to(device)
        k = min(self.neighbours, len(bank))
        votes = probes.knn_predictions(
            bank, labels, queries, representation.num_classes, k=[k], temperature=[self.temperature]
        )
        (predictions,) = votes.values()
        correct = (predictions == truth).cpu().numpy()
        low, high = statistics.accuracy_interval(correct)
        yield Measurement(
            tap=tap,
            metric="knn_accuracy",
            value=float(correct.mean()),
            ci_low=low,
            ci_high=high,
            details={"k": k, "temperature": self.temperature},
        )
        some = evenly_spaced(len(queries), self.paired)
        every, hardest = probes.false_negative_shares(bank, labels, queries[some], truth[some], self.hardest)
        yield Measurement(tap=tap, metric="false_negatives", value=every)
        yield Measurement(tap=tap, metric="false_negatives_hardest", value=hardest)

    def measure_views(self, tap: str, representation: Representation) -> Iterator[Measurement]:
        """Yields alignment and uniformity of the features of two views."""
        first, second = representation.two_view_features(self.vector_spec(tap), self.paired)
        yield Measurement(tap=tap, metric="alignment", value=probes.alignment(first, second))
        yield Measurement(tap=tap, metric="uniformity", value=probes.uniformity(first))

    def measure_clusters(self, tap: str, representation: Representation) -> Iterator[Measurement]:
        """Yields the agreement of the test images' classes with clusters that k-means found in train images."""
        spec = self.vector_spec(tap)
        train, test = (normalize(features(spec), dim=1) for features in (representation.train, representation.test))
        train = train[evenly_spaced(len(train), self.clustered)]
        for k in self.cluster_counts(representation.num_classes):
            clusters = probes.assign_clusters(test, probes.k_means(train, k).centres)
            agreement = probes.clustering_agreement(representation.test_labels, clusters)
            for name, (value, low, high) in agreement.items():
                yield Measurement(tap=tap, metric=f"{name}_k{k}", value=value, ci_low=low, ci_high=high)

    @classmethod
    def ranking_groups(cls, measured: DataFrame) -> Series:
        """The points of a sweep are ranked together, for each metric."""
        return _sweep.sweep_names(measured) + ": " + measured["metric"]

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """One part per sweep: a row per measure, a column per number of negatives."""
        return [_sweep.build_table(sweep, published) for sweep in _sweep.iterate_sweeps(measured)]

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """Which numbers of negatives under- or over-cluster, and an explanation of the table's lines."""
        return [_sweep.describe_failures(measured), _sweep.LINES_NOTE]

    @classmethod
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """Under- and over-clustering over the number of negatives, one panel per sweep."""
        _sweep.draw_sweeps(measured, figure)
