"""Few labels: how far does an encoder get with 20 labels a class, frozen, fine-tuned, and never pretrained?

Gidaris, Singh and Komodakis 2018, section 4.1 and figure 4 (20 to 5000 labels a class of CIFAR-10), and
Chen et al. 2020, section 6 (1 % and 10 % of the labels). The splits are nested: the 20 are among the 100.

Frozen: the classifier of ``linear``. Tuned: encoder and classifier learn together, from that classifier on where
it is linear (Kumar et al. 2022). Scratch: the same network learns from its random weights and a random classifier.
As in Gidaris et al.'s code a training sees the same number of views whatever the number of labels; nothing is
chosen on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from math import cos, inf, pi
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from sslbench import DatasetInfo, FeatureSpec, Measurement, Representation, UserError, accuracies, probes, require

from . import _curve
from ._probing import Probing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series


@dataclass(frozen=True, kw_only=True)
class FewLabels(Probing):
    """Accuracy at each number of labels and in each way; the fewest labels in the first way are the headline."""

    taps: tuple[str, ...] = ("conv5",)
    labels: tuple[int, ...] = (20, 100, 400, 1000, 5000)  # a class; of these five, those that the data have
    shares: tuple[float, ...] = (0.01, 0.1, 1.0)  # of each class, one label at least
    ways: tuple[Literal["frozen", "tuned", "scratch"], ...] = ("frozen", "tuned", "scratch")
    views: int = 200_000  # that a network is taught with, frozen ones aside
    batch: int = 64
    learning_rate: float = 1e-3  # of AdamW; it rises over a tenth of the steps, then falls along a cosine
    weight_decay: float = 0.05
    draw: int = 0  # seed of which images have a label, and of the training
    presets: ClassVar = {"smoke": {"views": 512, "batch": 32, "features": 512}, "small": {"views": 4000}}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.labels or self.shares), "fewlabels.labels", self.labels, "one or more, or some shares")
        require(min(self.labels, default=1) >= 1, "fewlabels.labels", self.labels, "at least 1 each")
        require(all(0 < share <= 1 for share in self.shares), "fewlabels.shares", self.shares, "above 0, at most 1")
        require(len(self.ways) >= 1, "fewlabels.ways", self.ways, "one or more of frozen, tuned, scratch")
        require(self.views >= 1, "fewlabels.views", self.views, "at least 1")
        require(self.batch >= 2, "fewlabels.batch", self.batch, "at least 2")
        require(0 < self.learning_rate < inf, "fewlabels.learning_rate", self.learning_rate, "above 0")
        require(0 <= self.weight_decay < inf, "fewlabels.weight_decay", self.weight_decay, "0 or more")
        require(self.draw >= 0, "fewlabels.draw", self.draw, "0 or more")

    def check(self, facts: DatasetInfo) -> None:
        """Labels that were asked for must be there."""
        super().check(facts)
        have = facts.train_images // len(facts.classes) if facts.per_class is None else facts.per_class
        if self.labels != FewLabels.labels and max(self.labels, default=0) > have:
            fitting = ",".join(str(n) for n in self.labels if n <= have) or str(have)
            raise UserError(
                f"fewlabels.labels = {max(self.labels)}: a class of {facts.name} has only {have} train images; "
                f"--set fewlabels.labels={fitting} fits."
            )

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields micro and macro accuracy, named by way and labels a class, and the share of train that has a label."""
        labels = representation.train_labels
        drawn = {f"{len(rows) / representation.classes:g}": rows for rows in self.drawn(labels)}
        for spec in self.feature_specs():
            for name, rows in drawn.items():
                yield Measurement(tap=spec.tap, metric=f"share_{name}", value=len(rows) / len(labels))
                classify = cache(partial(self.classifier, representation, spec, rows))  # frozen is, tuned begins at
                for way in self.ways:
                    if way == "frozen":
                        predictions, details = self.probed(representation, spec, rows, classify)
                    else:
                        start = None if way == "scratch" or representation.untrained else classify().linear
                        predictions = self.tuned(representation, spec, rows, way == "scratch", start)
                        details = {}
                    details |= {"labelled": len(rows), "indices": probes.subset_digest(rows)}
                    for number in accuracies(spec.tap, predictions, representation.test_labels, **details):
                        if (way, name) == (self.ways[0], next(iter(drawn))):
                            yield number
                        yield replace(number, metric=f"{number.metric}_{way}_{name}")

    def drawn(self, labels: Tensor) -> list[Tensor]:
        """The places (n,) of the images that have a label, fewest first; as many as another are not drawn again."""
        smallest = int(torch.bincount(labels)[labels.unique()].min())
        counts = [n for n in self.labels if n <= smallest] if self.labels == FewLabels.labels else self.labels
        chosen = [probes.label_subset(labels, per_class=n, seed=self.draw) for n in counts]
        chosen += [probes.label_subset(labels, share=share, seed=self.draw) for share in self.shares]
        different = {len(rows): rows for rows in reversed(chosen)}
        return [different[n] for n in sorted(different)]

    def tuned(
        self,
        representation: Representation,
        spec: FeatureSpec,
        rows: Tensor,
        untrained: bool,
        start: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Predictions (M,) on the test split of a copy of the encoder, or of an untrained one, taught by these rows.

        A random network's batch norms know nothing of the images yet, so no classifier of it is worth to ``start`` at.
        """
        encoder = representation.encoder_copy(untrained=untrained)
        course: dict[str, Any] = {
            "optimiser": partial(torch.optim.AdamW, lr=self.learning_rate, weight_decay=self.weight_decay),
            "rate": lambda progress: min(progress / 0.1, (1 + cos(pi * max(0, progress - 0.1) / 0.9)) / 2),
        }
        budget = {"views": self.views, "batch": self.batch, "seed": self.draw}
        learn = partial(self.learnt, representation, spec, rows, encoder, tuned=True, start=start, **course, **budget)
        # An untrained network learns the same for every method.
        return representation.once(encoder, (self, spec, probes.subset_digest(rows)), learn)

    @classmethod
    def among(cls, measured: DataFrame) -> Series:
        """Methods in all ways with the same number of labels."""
        return _curve.compared(measured)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods in each way by labels a class, and what was published."""
        return _curve.grid(measured, published)

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """What the marks compare, what pretraining is worth with few labels and with many, and who saw too little."""
        return [*_curve.comparison(measured), *_curve.gains(measured), *_curve.unseen(measured, card)]

    @classmethod
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """The curves, with labels on a log axis."""
        _curve.draw(measured, published, figure)
