"""k nearest neighbours: are images of the same class close to each other, without any training?

Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018,
section 3.4: images are compared by the cosine similarity s of globally pooled features, and each of the k nearest
train images votes for its class with weight exp(s / T). https://arxiv.org/abs/1805.01978
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Interval, MinLen

from sslbench import (
    Count,
    DatasetInfo,
    FeatureSpec,
    Measurement,
    Pooling,
    Protocol,
    Representation,
    TableCell,
    UserError,
    accuracy_cell,
    accuracy_measurements,
    probes,
    row_name,
)

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class KNN(Protocol):
    """Accuracy of kNN classification at each tap. The first k and temperature are the headline."""

    k: Annotated[tuple[Count, ...], MinLen(1)] = (200,)
    temperature: Annotated[tuple[Annotated[float, Interval(ge=1e-6, le=1e6)], ...], MinLen(1)] = (0.07,)
    pooling: Pooling = "average"  # to one vector per image
    later_settings: ClassVar = {"pooling": "average"}

    def check(self, info: DatasetInfo) -> None:
        """Raises UserError where there are fewer than k train images."""
        super().check(info)
        if max(self.k) > info.train_images:
            raise UserError(
                f"knn.k = {max(self.k)}: {info.name} has only {info.train_images} train images; "
                f"--set knn.k={max(1, info.train_images // 10)} fits."
            )

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """One vector per image at each tap, by default the mean of its map."""
        return tuple(FeatureSpec(tap, pooling=self.pooling) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the accuracy and the mean accuracy per class at each tap.

        With several k or temperatures, also yields the accuracy of every pair, as ``accuracy_k20_T0.07``.
        """
        for spec in self.feature_specs():
            votes = probes.knn_predictions(
                representation.train(spec),
                representation.train_labels.to(representation.device),
                representation.test(spec),
                representation.num_classes,
                k=self.k,
                temperature=self.temperature,
            )
            for (k, temperature), predictions in votes.items():
                details: dict[str, Any] = {"k": k, "temperature": temperature}
                measurements = accuracy_measurements(spec.tap, predictions, representation.test_labels, **details)
                accuracy = next(measurements)
                if (k, temperature) == (self.k[0], self.temperature[0]):
                    yield accuracy
                    yield from measurements
                if len(votes) > 1:
                    yield replace(accuracy, metric=f"accuracy_k{k}_T{temperature:g}")

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """For several k or temperatures: a row per method, tap and k, and a column per temperature."""
        import pandas as pd

        lines, pairs = [], accuracies_by_pair(measured)
        for (label, tap), cells in pairs.groupby(["label", "tap"], sort=False):
            for k, rows in cells.sort_values("temperature").groupby("k"):
                line: dict[str, str | TableCell] = {
                    "method": row_name(str(label), rows["role"].iloc[0]),
                    "tap": str(tap),
                    "k": str(k),
                }
                row: Any
                for row in rows.itertuples():
                    line[f"T = {row.temperature:g}"] = accuracy_cell(row)
                lines.append(line)
        return [pd.DataFrame(lines).fillna("-")] if lines else []

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """What the marks in this table compare."""
        ranked = accuracies_by_pair(measured)["rank"].notna().any()
        return ["best and ≈ among methods at the same tap, k and temperature (T)"] if ranked else []


def accuracies_by_pair(measured: DataFrame) -> DataFrame:
    """The rows with the accuracy of one of several pairs, and its ``k`` and ``temperature`` as columns."""
    pairs = measured["metric"].str.extract(r"^accuracy_k(?P<k>\d+)_T(?P<temperature>[\d.e+-]+)$")
    return measured.join(pairs).dropna(subset=["k"]).astype({"k": int, "temperature": float})
