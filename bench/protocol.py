"""The base class of protocols: a question about a frozen encoder, answered by measurements."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from .errors import UserError, require
from .plugins.settings import check_fields
from .records.measurement import FRACTION, NOTHING, Measurement, format_number
from .statistics import accuracy_interval, macro_accuracy_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series
    from torch import Tensor

    from .data import DatasetInfo
    from .evaluation.feature_spec import FeatureSpec
    from .evaluation.representation import Representation
    from .method import Panel


@dataclass(frozen=True)
class Metric:
    """A number that a protocol measures. Records, tables, ranks and comparisons follow what is declared here.

    It also stands for numbers whose names continue its own after an underscore, such as accuracy_k20 for accuracy.
    """

    name: str
    unit: str = ""  # "fraction" is shown in percent; any other, such as "px" or "nats", is named next to the metric
    higher_is_better: bool = True
    best: float | None = None  # the value of perfect features, if there is one
    chance: float | Callable[[Representation], float] | None = None
    """What features give that say nothing about the question: a number, or a function of the data."""

    def chance_on(self, representation: Representation) -> float | None:
        """The chance level on a data set, if one is declared."""
        return self.chance(representation) if callable(self.chance) else self.chance


def share_of_largest_class(representation: Representation) -> float:
    """The accuracy of always answering with the most frequent class of train."""
    most_frequent = representation.train_labels.bincount().argmax()
    return float((representation.test_labels == most_frequent.to(representation.test_labels.device)).float().mean())


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """Measures a frozen encoder. A subclass is a frozen dataclass whose fields are its settings.

    A subclass is named like its file. It never selects anything on the test split.
    """

    taps: tuple[str, ...] = ("conv4", "conv5")

    variants: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {}
    """Method -> label -> settings of the method. An ablation pretrains and compares these variants."""

    later_settings: ClassVar[dict[str, Any]] = {}
    """Settings that were added after records had been made, with their defaults: left out of keys and cards then."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Preset -> settings of the protocol that differ from the defaults, such as a shorter training."""

    trains_encoders: ClassVar[bool] = False
    """Whether it trains whole networks: floor and ceiling are then measured only if they are named."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    """What the data set must provide in addition to images.

    Any of "labels", "multi_labels", "values", "masks", "depth", "captions", "clips" and "clip_masks".
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy", FRACTION, best=1, chance=share_of_largest_class),
        Metric("macro_accuracy", FRACTION, best=1, chance=lambda representation: 1 / representation.num_classes),
    )
    """The numbers that it measures."""

    headline: ClassVar[str] = "accuracy"
    """The metric that tables show first."""

    def __post_init__(self) -> None:
        """Checks each setting against the range that its annotation declares. Raises UserError."""
        check_fields(self)
        name = f"{type(self).__name__.lower()}.taps"
        require(len(set(self.taps)) == len(self.taps), name, ",".join(self.taps), "without a tap that occurs twice")

    @abstractmethod
    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """The features that it needs. They are extracted in one forward pass for all protocols."""

    @abstractmethod
    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the measurements; the caller stores and prints them."""

    def pictures(self, representation: Representation) -> list[Panel]:
        """Columns that show what was asked and answered, for at most 6 images: one row per image; [] shows nothing.

        Called after ``evaluate``. It should take less than a second: what both need, such as a fitted model, can be
        shared by ``representation.compute_once``.
        """
        return []

    def check(self, info: DatasetInfo) -> None:
        """Raises UserError where a data set cannot be evaluated. It is called before any training."""
        if "labels" in self.needs and len(info.classes) < 2:
            raise UserError(f"{info.name}: all images are of one class; a protocol needs at least two classes.")
        if info.test_images < 2:
            raise UserError(f"{info.name}: has {info.test_images} test image; a protocol needs at least 2.")

    def metric_of(self, name: str) -> Metric | None:
        """The declared metric that a measurement's name stands for; None if there is none."""
        return next((metric for metric in self.metrics if metric.name == name), None) or max(
            (metric for metric in self.metrics if name.startswith(f"{metric.name}_")),
            key=lambda metric: len(metric.name),
            default=None,
        )

    def card(self) -> dict[str, Any]:
        """The settings that define what a number means. Only results with equal cards are ranked together."""
        later = self.later_settings
        return {name: value for name, value in asdict(self).items() if name not in later or later[name] != value}

    # The methods below are needed only where a report should show more than a table of methods by taps. ``measured``
    # is what `bench.report.tables` computes: a row for each label, tap and metric, with the columns method, variant,
    # role, mean, ci_half_width and seeds (their number), failed, rank, tied_with_best, and of the metric unit, chance
    # and higher_is_better; ``measured.attrs["card"]`` is the protocol card, and ``measured.attrs["arrays"]``
    # reads what was yielded as ``Measurement.arrays``: ``of(label, tap, metric, name)``. ``published`` has the rows of
    # the protocol's file in results/published about the same methods.

    @classmethod
    def ranking_groups(cls, measured: DataFrame) -> Series:
        """The group of each row. Rows of the same tap and group are ranked together; a missing value is not ranked."""
        return measured["metric"]

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """The protocol's own table in one or more parts; [] means methods by taps. A cell is text or a `TableCell`.

        A column's name is text, or a pair of texts: a heading and what is below it. A part with a row per method names
        their labels in ``attrs["labels"]``, "chance" among them, so that the report can describe these methods.
        """
        return []

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """Sentences below the table, composed from its numbers and its protocol card."""
        return []

    @classmethod  # noqa: B027 - optional
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """Draws the protocol's own figure. If nothing is drawn, the report draws one dot per method."""


@dataclass(frozen=True)
class TableCell:
    """The text of a table's cell and its marks, which each file format shows in its own way."""

    text: str
    mark: Literal["", "best", "second best"] = ""
    tied_with_best: bool = False  # not significantly worse than the best


def as_percent(mean: float, ci_half_width: float = math.nan, digits: int = 1) -> str:
    """A fraction and half the width of its interval in percent; a dash if nothing was measured."""
    value, half_width = (format_number(number, digits=digits) for number in (mean, ci_half_width))
    return value if NOTHING in (value, half_width) else f"{value} ± {half_width}"


def row_name(label: str, role: str) -> str:
    """The first cell of a row: its label, and in brackets its role or what else a reader must know of it."""
    return f"{label} ({role})" if role else label


def ranked_cell(text: str, rank: float, tied_with_best: bool) -> TableCell:
    """A cell that is marked by its rank; NaN is a cell that is not ranked."""
    if rank == 1:
        return TableCell(text, "best", tied_with_best)
    return TableCell(text, "second best" if rank == 2 else "", tied_with_best)


def accuracy_cell(row: Any, digits: int = 1) -> TableCell:
    """The cell of an accuracy among the measured rows."""
    if row.failed:
        return TableCell("failed")
    return ranked_cell(as_percent(row.mean, row.ci_half_width, digits), row.rank, bool(row.tied_with_best))


def accuracy_measurements(
    tap: str, predictions: Tensor, labels: Tensor, confidences: Tensor | None = None, **details: Any
) -> Iterator[Measurement]:
    """Predictions and labels (N,) -> accuracy over images, and mean accuracy per class, with Wilson intervals.

    The first measurement also carries predictions, confidences (N,) and details.
    """
    predicted, truth = predictions.cpu().numpy(), labels.cpu().numpy()
    correct = predicted == truth
    low, high = accuracy_interval(correct)
    yield Measurement(
        tap=tap,
        metric="accuracy",
        value=float(correct.mean()),
        ci_low=low,
        ci_high=high,
        predictions=predicted,
        confidences=None if confidences is None else confidences.float().cpu().numpy(),
        details=details,
    )
    per_class = [correct[truth == label].mean() for label in np.unique(truth)]
    low, high = macro_accuracy_interval(correct, truth)
    macro = float(np.mean(per_class))
    yield Measurement(tap=tap, metric="macro_accuracy", value=macro, ci_low=low, ci_high=high)
