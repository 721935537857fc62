"""Few labels: how accurate is a classifier with 20 labels per class, with pretraining and without?

Gidaris, Singh and Komodakis 2018, section 4.1 and figure 4 (20 to 5000 labels per class of CIFAR-10), and Chen et al.
2020, section 6 (1 % and 10 % of the labels). The labelled subsets are nested: the 20 images are among the 100.

Each subset is used in three ways. "frozen" trains the classifier of ``linear`` on the frozen encoder. "tuned" trains
encoder and classifier together; a linear classifier starts from the frozen result (Kumar et al. 2022). "scratch"
trains the same network from random weights.

As in the code of Gidaris et al. a training processes the same number of views whatever the number of labels, and
there is no early stopping and no choice between runs. This number is the budget of the supervised ceiling of the same
preset: with fewer views, the most labels would show the budget and not what labels are worth. To save time the presets
have fewer numbers of labels instead. A training that saw its labelled images too few times is marked as starved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from math import cos, pi
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Interval, MinLen
from torch import Tensor

from sslbench import (
    Count,
    DatasetInfo,
    FeatureSpec,
    Measurement,
    Metric,
    NonNegative,
    Positive,
    PositiveShare,
    Representation,
    UserError,
    accuracy_measurements,
    probes,
    require,
)

from . import _curve
from ._probing import Probing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series


@dataclass(frozen=True, kw_only=True)
class FewLabels(Probing):
    """Accuracy for each number of labels and each way of training.

    The headline is the accuracy with the fewest labels in the first way.
    """

    taps: tuple[str, ...] = ("conv5",)
    labels: tuple[Count, ...] = (20, 100, 400, 1000, 5000)  # per class; of these defaults, those that the data have
    shares: tuple[PositiveShare, ...] = (0.01, 0.1, 1.0)  # of the images of each class, at least one image
    ways: Annotated[tuple[Literal["frozen", "tuned", "scratch"], ...], MinLen(1)] = ("frozen", "tuned", "scratch")
    views: Count = 200_000  # that a network is trained on; not for frozen encoders
    batch: Annotated[int, Ge(2)] = 64
    learning_rate: Positive = 1e-3  # of AdamW; it rises over a tenth of the steps, then falls along a cosine
    weight_decay: NonNegative = 0.05
    draw: Annotated[int, Interval(ge=0, lt=4294967296)] = 0  # seed of the labelled subset and of the training
    trains_encoders: ClassVar = True
    metrics: ClassVar = (*Probing.metrics, Metric("share", "fraction"))
    presets: ClassVar = {
        "smoke": {"views": 4_000, "batch": 32, "features": 512, "labels": (), "shares": (0.1, 1.0)},
        "small": {"views": 250_000, "labels": ()},
        "paper": {"views": 200_000_000},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(set(self.ways)) == len(self.ways), "fewlabels.ways", ",".join(self.ways), "different ways")
        require(bool(self.labels or self.shares), "fewlabels.labels", self.labels, "one or more, or some shares")

    def check(self, info: DatasetInfo) -> None:
        """Raises UserError where a class has fewer images than the numbers of labels that were set."""
        super().check(info)
        smallest = info.train_images // len(info.classes) if info.per_class is None else info.per_class
        if self.labels != FewLabels.labels and max(self.labels, default=0) > smallest:
            fitting = ",".join(str(n) for n in self.labels if n <= smallest) or str(smallest)
            raise UserError(
                f"fewlabels.labels = {max(self.labels)}: a class of {info.name} has only {smallest} train images; "
                f"--set fewlabels.labels={fitting} fits."
            )

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields, for each labelled subset and way, the accuracy and the mean accuracy per class.

        A metric's name ends with the way and the labels per class, such as ``accuracy_frozen_20``. ``share_20`` is the
        share of train that is labelled.
        """
        labels = representation.train_labels
        subsets = {f"{len(rows) / representation.num_classes:g}": rows for rows in self.labelled_subsets(labels)}
        headline = (self.ways[0], next(iter(subsets)))
        for spec in self.feature_specs():
            for name, rows in subsets.items():
                yield Measurement(tap=spec.tap, metric=f"share_{name}", value=len(rows) / len(labels))
                # Fitted once for two ways: the frozen result, and the starting point of fine-tuning.
                fit = cache(partial(self.fit_classifier, representation, spec, rows))
                for way in self.ways:
                    predictions, details = self.predict(way, representation, spec, rows, fit)
                    details |= {"labelled": len(rows), "indices": probes.subset_digest(rows)}
                    for number in accuracy_measurements(spec.tap, predictions, representation.test_labels, **details):
                        if (way, name) == headline:
                            yield number
                        yield replace(number, metric=f"{number.metric}_{way}_{name}")

    def labelled_subsets(self, labels: Tensor) -> list[Tensor]:
        """Labels (N,) of train -> the indices (n,) of each subset, smallest first; of equally large ones, only one."""
        smallest = int(torch.bincount(labels)[labels.unique()].min())
        counts = [n for n in self.labels if n <= smallest] if self.labels == FewLabels.labels else self.labels
        subsets = [probes.label_subset(labels, per_class=n, seed=self.draw) for n in counts]
        subsets += [probes.label_subset(labels, share=share, seed=self.draw) for share in self.shares]
        by_size = {len(rows): rows for rows in reversed(subsets)}
        return [by_size[n] for n in sorted(by_size)]

    def predict(
        self,
        way: str,
        representation: Representation,
        spec: FeatureSpec,
        rows: Tensor,
        fit: Callable[[], probes.ProbeResult],
    ) -> tuple[Tensor, dict[str, Any]]:
        """Trains in one way on these rows (n,); returns predictions (M,) of the test images, and record details."""
        if way == "frozen":
            return self.predict_frozen(representation, spec, rows, fit)
        # The batch norms of a random network have no useful statistics yet, so its frozen classifier is no good start.
        start = None if way == "scratch" or representation.is_untrained else fit().linear
        encoder = representation.encoder_copy(untrained=way == "scratch")
        training: dict[str, Any] = {
            "optimiser": partial(torch.optim.AdamW, lr=self.learning_rate, weight_decay=self.weight_decay),
            "learning_rate_factor": lambda t: min(t / 0.1, (1 + cos(pi * max(0, t - 0.1) / 0.9)) / 2),
            "views": self.views,
            "batch_size": self.batch,
            "seed": self.draw,
        }
        train = partial(
            self.train_and_predict, representation, spec, rows, encoder, train_encoder=True, start=start, **training
        )
        # Training from scratch gives the same result for every method, so it is shared.
        return representation.compute_once(encoder, (self, spec, probes.subset_digest(rows)), train), {}

    @classmethod
    def ranking_groups(cls, measured: DataFrame) -> Series:
        """Results with the same number of labels are ranked together, over all methods and ways."""
        return _curve.label_counts(measured)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """A row per way and method, a column per number of labels; then the published numbers."""
        return _curve.build_tables(measured, published)

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """What the marks compare, how much pretraining gains, and which trainings are starved."""
        return [*_curve.marks_note(measured), *_curve.gain_notes(measured), *_curve.starved_notes(measured, card)]

    @classmethod
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """Accuracy over labels per class, on a log axis."""
        _curve.draw_curves(measured, published, figure)
