"""Segmentation: does a frozen map say which class each pixel shows?

A linear classifier, and a search for the nearest neighbours, are applied to the features of single positions; their
answers are enlarged to the masks' resolution, as in the evaluation of DINOv2 (Oquab et al., "DINOv2: Learning Robust
Visual Features without Supervision", 2023, section 7.4, https://arxiv.org/abs/2304.07193). There the classifier is
trained by gradient descent on enlarged logits; here it is logistic regression on the most frequent class of a position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from annotated_types import Interval, MinLen
from torch import Tensor

from sslbench import VOID, Count, FeatureSpec, Measurement, Metric, Panel, Representation, probes, statistics

from ._dense import Dense
from ._metrics_table import metrics_table
from ._pictures import colour_labels, shown_images, shown_rows

if TYPE_CHECKING:
    from pandas import DataFrame

LOWEST = -1e4  # logit of a class without a training pixel; -inf could not be enlarged bilinearly
NEIGHBOURS, TEMPERATURE = 30, 0.07  # of kNN over positions

Answer = Callable[[Tensor], Tensor]  # rows of features (R, C) -> a number per class (R, K)


def overlap_of_one_class(representation: Representation) -> float:
    """The mean overlap of an answer that is the same class for all pixels, the best one."""
    dataset = representation.dataset
    assert dataset.test.masks is not None
    known = dataset.test.masks[dataset.test.masks != VOID]
    counts = torch.bincount(known.flatten().long(), minlength=len(dataset.mask_classes))
    return float(counts.max() / counts.sum() / (counts > 0).sum())


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """Mean intersection over union of a linear probe, and of kNN, on the positions of a frozen map."""

    strengths: Annotated[tuple[Annotated[float, Interval(ge=1e-9, le=1e9)], ...], MinLen(1)] = (1e-4, 1e-3, 0.01, 0.1)
    bank: Count = 20_000  # positions of train pictures, evenly spaced, in which kNN searches
    presets: ClassVar = {"smoke": {"images": 200, "bank": 2000}}
    needs: ClassVar = frozenset({"masks"})
    headline: ClassVar = "mean_iou"
    metrics: ClassVar = (
        Metric("mean_iou", "fraction", best=1, chance=overlap_of_one_class),
        Metric("pixel_accuracy", "fraction", best=1),
        Metric("knn_mean_iou", "fraction", best=1, chance=overlap_of_one_class),
        Metric("knn_pixel_accuracy", "fraction", best=1),
    )

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean overlap and the share of right pixels, of the linear probe and of kNN."""
        for spec in self.feature_specs():
            classify, details = self.linear_classifier(representation, spec)
            yield from self.measure(representation, spec, classify, "", details)
            rows, labels, _ = self.labelled_rows(representation, spec)
            vote = self.nearest_voters(rows, labels, len(representation.dataset.mask_classes))
            yield from self.measure(representation, spec, vote, "knn_", {"k": NEIGHBOURS, "temperature": TEMPERATURE})

    def pictures(self, representation: Representation) -> list[Panel]:
        """Test pictures with their true classes, and those that the linear probe finds at the last tap."""
        spec = self.feature_specs()[-1]
        classify, _ = self.linear_classifier(representation, spec)
        rows = shown_rows(representation, spec)
        masks = self.targets(representation, "test", spec, "masks")[rows]
        maps = representation.test(spec)[rows]
        ((_, answers),) = probes.iter_enlarged(maps, classify, masks.shape[1:])
        return [
            Panel(title="image", images=shown_images(representation, spec)),
            Panel(title="classes", images=colour_labels(masks)),
            Panel(title=f"found at {spec.tap}", images=colour_labels(answers.argmax(1))),
        ]

    def labelled_rows(self, representation: Representation, spec: FeatureSpec) -> tuple[Tensor, Tensor, Tensor]:
        """Features (R, C) and labels (R,) of the train positions with a known class, and which are not held out."""
        maps, masks = representation.train(spec), self.targets(representation, "train", spec, "masks")
        labels = probes.labels_of_positions(masks, maps.shape[2:], VOID).flatten()
        known = labels != VOID
        keep = probes.rows_of_other_pictures(len(maps), maps[0, 0].numel(), self.held_out).to(known.device)
        return probes.position_rows(maps)[known], labels[known], keep[known]

    def linear_classifier(self, representation: Representation, spec: FeatureSpec) -> tuple[Answer, dict[str, Any]]:
        """The linear probe and what was chosen for it; trained once per run."""

        def fit() -> tuple[Answer, dict[str, Any]]:
            rows, labels, keep = self.labelled_rows(representation, spec)
            return self.fit_linear(rows, labels, keep, len(representation.dataset.mask_classes))

        answer, details = representation.compute_once(representation.encoder, (self, spec), fit)
        return answer, dict(details)

    def fit_linear(self, rows: Tensor, labels: Tensor, keep: Tensor, classes: int) -> tuple[Answer, dict[str, Any]]:
        """Logistic regression on rows (R, C) with labels (R,), and what was chosen; ``keep`` (R,) is not held out."""
        result = probes.linear_probe(rows, labels, rows[:1], classes, strengths=self.strengths, keep=keep)
        assert result.linear is not None
        weights, bias = result.linear
        return lambda x: x @ weights + bias.clamp_min(LOWEST), {"strength": result.strength}

    def nearest_voters(self, rows: Tensor, labels: Tensor, classes: int) -> Answer:
        """kNN over some of the rows (R, C) with labels (R,)."""
        some = torch.arange(0, len(rows), max(1, len(rows) // self.bank), device=rows.device)
        bank, voters = rows[some], labels[some]
        return lambda x: probes.knn_votes(bank, voters, x, classes, k=NEIGHBOURS, temperature=TEMPERATURE)

    def measure(
        self, representation: Representation, spec: FeatureSpec, answer: Answer, prefix: str, details: dict[str, Any]
    ) -> Iterator[Measurement]:
        """Yields both numbers of the test pictures."""
        masks, classes = self.targets(representation, "test", spec, "masks"), len(representation.dataset.mask_classes)
        counts = [
            probes.overlap_counts(answers.argmax(1), masks[where], classes, VOID)
            for where, answers in probes.iter_enlarged(representation.test(spec), answer, masks.shape[1:])
        ]
        both, either = (torch.cat(parts).double().cpu() for parts in zip(*counts, strict=True))
        overlaps = both.sum(0) / either.sum(0)
        names = representation.dataset.mask_classes
        details |= {"iou": {name: round(float(iou), 4) for name, iou in zip(names, overlaps, strict=True) if iou >= 0}}
        low, high = statistics.bootstrap_interval(
            lambda draws: probes.mean_overlap(*(torch.from_numpy(draws) @ part for part in (both, either))), len(masks)
        )
        value = float(probes.mean_overlap(both.sum(0), either.sum(0)))
        yield Measurement(
            tap=spec.tap, metric=f"{prefix}mean_iou", value=value, ci_low=low, ci_high=high, details=details
        )
        known = (masks != VOID).flatten(1).sum(1).double().cpu()
        yield Measurement(tap=spec.tap, metric=f"{prefix}pixel_accuracy", value=float(both.sum() / known.sum()))

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps."""
        return metrics_table(cls.headline, measured)
