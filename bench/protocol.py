"""What a file in ``protocols/`` promises: numbers about a frozen encoder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .errors import UserError
from .records.measurement import Measurement
from .statistics import bootstrap_interval, macro_bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series
    from torch import Tensor

    from .data import DatasetInfo
    from .evaluation.representation import FeatureSpec, Representation

BEST, SECOND = "\ue000{}\ue002", "\ue001{}\ue003"
"""A cell that is best or second best, until its table is printed and each kind of file marks it in its own way."""


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """A question asked of a frozen encoder; its fields are its settings.

    A subclass is named like its file. It never selects anything on the test split.
    """

    taps: tuple[str, ...] = ("conv4", "conv5")

    variants: ClassVar[dict[str, dict[str, dict[str, Any]]]] = {}
    """Method -> label -> settings: what an ablation has pretrained and compared; empty for any encoder as it is."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Preset -> settings that differ from the defaults in it, such as a shorter training."""

    headline: ClassVar[str] = "accuracy"
    """The metric that tables show."""

    @abstractmethod
    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """The taps and poolings it will ask for, so that one forward pass serves every protocol."""

    @abstractmethod
    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the numbers; where they are stored or printed is not its business."""

    def check(self, facts: DatasetInfo) -> None:
        """Raises UserError where these data cannot answer the question; called before any work."""
        if len(facts.classes) < 2:
            raise UserError(f"{facts.name}: all images are of one class; a question needs two or more to tell apart.")
        if facts.test_images < 2:
            raise UserError(
                f"{facts.name}: has {facts.test_images} test image; no answer can be judged by fewer than 2."
            )

    def card(self) -> dict[str, Any]:
        """What a number means: rows with different cards are never ranked together."""
        return asdict(self)

    # How a report shows the records, where methods by taps do not say it. ``measured`` has a row per label, tap and
    # metric: method, variant, mean over seeds, half its 95 % interval, failed, its rank, and whether nothing says
    # that it is not the best (even); ``published`` has those of the file in results/published about these methods.

    @classmethod
    def among(cls, measured: DataFrame) -> Series:
        """For each row what it is ranked among: rows of its tap alike in this; nothing where it is not ranked."""
        return measured["metric"]

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Its own table in one or more parts, the cells as printed; without parts it is methods by taps."""
        return []

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """Sentences below the table, written from its numbers and its protocol card."""
        return []

    @classmethod  # noqa: B027 - bars will do
    def plot(cls, measured: DataFrame, published: DataFrame, figure: Figure) -> None:
        """Draws into the figure; where nothing is drawn it shows a bar a method."""


def percent(mean: float, half: float = math.nan, digits: int = 1) -> str:
    """A fraction and half its interval as a table prints them, in percent; a dash where nothing was measured."""
    if math.isnan(mean):
        return "-"
    return f"{100 * mean:.{digits}f}" + ("" if math.isnan(half) else f" ± {100 * half:.{digits}f}")


def named(label: str, role: str) -> str:
    """A row's name, with its role if it is measured against."""
    return f"{label} ({role})" if role else label


def marked(text: str, rank: float, even: bool) -> str:
    """A cell's text with its marks: best, second best, not surely worse than the best."""
    return {1.0: BEST, 2.0: SECOND}.get(rank, "{}").format("≈" * bool(even) + text)


def shown(row: Any, digits: int = 1) -> str:
    """An accuracy among the measured rows as a table prints it, with its marks."""
    return "failed" if row.failed else marked(percent(row.mean, row.half, digits), row.rank, row.even)


def accuracies(
    tap: str, predictions: Tensor, labels: Tensor, confidences: Tensor | None = None, **details: Any
) -> Iterator[Measurement]:
    """Predictions and labels (N,) -> micro and macro accuracy with bootstrap intervals over test images."""
    predicted, truth = predictions.cpu().numpy(), labels.cpu().numpy()
    correct = predicted == truth
    low, high = bootstrap_interval(correct)
    yield Measurement(
        tap=tap,
        metric="accuracy",
        value=float(correct.mean()),
        low=low,
        high=high,
        predictions=predicted,
        confidences=None if confidences is None else confidences.float().cpu().numpy(),
        details=details,
    )
    per_class = [correct[truth == label].mean() for label in np.unique(truth)]
    low, high = macro_bootstrap_interval(correct, truth)
    yield Measurement(tap=tap, metric="macro_accuracy", value=float(np.mean(per_class)), low=low, high=high)
