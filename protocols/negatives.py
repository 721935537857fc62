"""Too few negatives or too many? Pretrains over their number, and looks for classes merged and classes torn.

Under-clustering: too few negatives to tell the actual classes apart. Over-clustering: so many that a
class is torn apart. k-means with more clusters than classes has room to tell all classes apart: what
its homogeneity lacks is under-clustering. With fewer clusters than classes no class has to be torn:
what its completeness lacks is over-clustering.

Beside them: linear and kNN accuracy (Wu et al. 2018, table 1, printed them over m), the share of false
negatives, alignment and uniformity (Wang and Isola 2020), and from the method's own task the bound of
InfoNCE on mutual information, log N - loss, beside the log N that it cannot pass (van den Oord et al. 2018).

SimCLR takes its negatives from the batch: the budget of views stays, the learning rate follows the
batch's square root (Chen et al. 2020, appendix B.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch.nn.functional import normalize

from sslbench import (
    DatasetInfo,
    FeatureSpec,
    Measurement,
    Representation,
    UserError,
    evenly,
    probes,
    require,
    statistics,
)

from . import _sweep
from ._probing import Probing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series


@dataclass(frozen=True, kw_only=True)
class Negatives(Probing):
    """What classes become in the features, for each number of negatives."""

    taps: tuple[str, ...] = ("conv5",)
    neighbours: int = 200  # kNN's k; where there are fewer train images, the default is all of them
    temperature: float = 0.07
    below: float = 0.5  # how many clusters, in multiples of the number of classes
    above: float = 4.0
    clustered: int = 10_000  # train images, evenly taken, in which k-means looks for clusters
    paired: int = 2_000  # test images, evenly taken, whose views and negatives are looked at
    hardest: float = 0.01  # share of all train images
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

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.neighbours >= 1, "negatives.neighbours", self.neighbours, "at least 1")
        require(self.temperature > 0, "negatives.temperature", self.temperature, "above 0")
        require(0 < self.below <= 1, "negatives.below", self.below, "above 0 and at most 1, of the number of classes")
        require(self.above >= 1, "negatives.above", self.above, "at least 1, of the number of classes")
        require(self.clustered >= 1, "negatives.clustered", self.clustered, "at least 1")
        require(self.paired >= 2, "negatives.paired", self.paired, "at least 2")
        require(0 < self.hardest <= 1, "negatives.hardest", self.hardest, "a share above 0 and at most 1")

    def check(self, facts: DatasetInfo) -> None:
        """There must be as many images as clusters, and as neighbours if another number than usual is asked for."""
        super().check(facts)
        if self.neighbours > facts.train_images and self.neighbours != Negatives.neighbours:
            raise UserError(
                f"negatives.neighbours = {self.neighbours}: {facts.name} has only {facts.train_images} train images; "
                f"--set negatives.neighbours={max(1, facts.train_images // 10)} fits."
            )
        images, most = min(self.clustered, facts.train_images), max(self.clusters(len(facts.classes)))
        if most > images:
            raise UserError(
                f"negatives.above = {self.above:g}: {most} clusters are more than the {images} train images of "
                f"{facts.name} that are clustered; --set negatives.above=1 asks for {len(facts.classes)}."
            )

    def clusters(self, classes: int) -> tuple[int, ...]:
        """Numbers of clusters below, at and above the number of classes."""
        wanted = (max(2, round(self.below * classes)), classes, round(self.above * classes))
        return tuple(sorted(set(wanted)))

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """Each tap on a grid for the classifier, and its mean for all else."""
        return (*self.grids(), *map(FeatureSpec, self.taps))

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields all that the table shows, at each tap."""
        yield from super().evaluate(representation)
        if "bound" in representation.pretext:
            yield Measurement(tap=self.taps[0], metric="bound", value=representation.pretext["bound"])
        for tap in self.taps:
            yield from self.geometry(tap, representation)
            yield from self.groups(tap, representation)

    def geometry(self, tap: str, representation: Representation) -> Iterator[Measurement]:
        """Yields what the nearest images say, and how two views lie to each other and to all others."""
        bank, labels = representation.train(FeatureSpec(tap)), representation.train_labels.to(representation.device)
        queries, truth = representation.test(FeatureSpec(tap)), representation.test_labels.to(representation.device)
        k = min(self.neighbours, len(bank))
        vote = probes.knn(bank, labels, queries, representation.classes, k=[k], temperature=[self.temperature])
        (predictions,) = vote.values()
        correct = (predictions == truth).cpu().numpy()
        low, high = statistics.bootstrap_interval(correct)
        told = {"k": k, "temperature": self.temperature}
        yield Measurement(tap=tap, metric="knn_accuracy", value=float(correct.mean()), low=low, high=high, details=told)
        some = evenly(len(queries), self.paired)
        every, hardest = probes.false_negatives(bank, labels, queries[some], truth[some], self.hardest)
        yield Measurement(tap=tap, metric="false_negatives", value=every)
        yield Measurement(tap=tap, metric="false_negatives_hardest", value=hardest)
        first, second = representation.views(FeatureSpec(tap), self.paired)
        yield Measurement(tap=tap, metric="alignment", value=probes.alignment(first, second))
        yield Measurement(tap=tap, metric="uniformity", value=probes.uniformity(first))

    def groups(self, tap: str, representation: Representation) -> Iterator[Measurement]:
        """Yields how far the test images' classes are the clusters that k-means found in train images."""
        train, test = (normalize(side(FeatureSpec(tap)), dim=1) for side in (representation.train, representation.test))
        train = train[evenly(len(train), self.clustered)]
        for k in self.clusters(representation.classes):
            found = probes.assigned(test, probes.k_means(train, k).centres)
            for name, (value, low, high) in probes.agreement(representation.test_labels, found).items():
                yield Measurement(tap=tap, metric=f"{name}_k{k}", value=value, low=low, high=high)

    @classmethod
    def among(cls, measured: DataFrame) -> Series:
        """The points of a sweep, metric by metric."""
        return _sweep.swept(measured) + ": " + measured["metric"]

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """A part a sweep: what was measured down, the number of negatives across."""
        return [_sweep.part(sweep, published) for sweep in _sweep.sweeps(measured)]

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """Which of the two each point suffers from, and what the table's lines are."""
        return [_sweep.sentence(measured), _sweep.LINES]

    @classmethod
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """Under- and over-clustering over the number of negatives, a panel a sweep."""
        _sweep.draw(measured, figure)
