"""k nearest neighbours: are images of a class close to each other, with nothing learned at all?

Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
CVPR 2018, section 3.4: cosine similarity s of globally pooled features, each of the k nearest train
images votes for its class with weight exp(s / T). https://arxiv.org/abs/1805.01978
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sslbench import (
    DatasetInfo,
    FeatureSpec,
    Measurement,
    Protocol,
    Representation,
    UserError,
    accuracies,
    named,
    probes,
    require,
    shown,
)

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class KNN(Protocol):
    """Accuracy of the neighbours' vote at each tap; the first k and temperature are the headline."""

    k: tuple[int, ...] = (200,)
    temperature: tuple[float, ...] = (0.07,)

    def __post_init__(self) -> None:
        require(len(self.k) >= 1 and min(self.k) >= 1, "knn.k", self.k, "one or more numbers of at least 1")
        require(
            len(self.temperature) >= 1 and min(self.temperature) > 0, "knn.temperature", self.temperature, "above 0"
        )

    def check(self, facts: DatasetInfo) -> None:
        """k neighbours must be there to be found."""
        super().check(facts)
        if max(self.k) > facts.train_images:
            raise UserError(
                f"knn.k = {max(self.k)}: {facts.name} has only {facts.train_images} train images; "
                f"--set knn.k={max(1, facts.train_images // 10)} fits."
            )

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """Each tap's mean."""
        return tuple(FeatureSpec(tap) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields micro and macro accuracy at each tap, and of several (k, temperature) the accuracy of each by name."""
        for spec in self.feature_specs():
            votes = probes.knn(
                representation.train(spec),
                representation.train_labels.to(representation.device),
                representation.test(spec),
                representation.classes,
                k=self.k,
                temperature=self.temperature,
            )
            for (k, temperature), predictions in votes.items():
                numbers = accuracies(spec.tap, predictions, representation.test_labels, k=k, temperature=temperature)
                micro = next(numbers)
                if (k, temperature) == (self.k[0], self.temperature[0]):
                    yield micro
                    yield from numbers
                if len(votes) > 1:
                    yield replace(micro, metric=f"accuracy_k{k}_T{temperature:g}")

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Of a grid each method's accuracy at each tap, k down and temperatures across."""
        import pandas as pd

        lines, pairs = [], grid(measured)
        for (label, tap), cells in pairs.groupby(["label", "tap"], sort=False):
            for k, rows in cells.sort_values("temperature").groupby("k"):
                line = {"method": named(str(label), rows["role"].iloc[0]), "tap": str(tap), "k": str(k)}
                row: Any
                for row in rows.itertuples():
                    line[f"T = {row.temperature:g}"] = shown(row)
                lines.append(line)
        return [pd.DataFrame(lines).fillna("-")] if lines else []

    @classmethod
    def notes(cls, measured: DataFrame, published: DataFrame, card: dict[str, Any]) -> list[str]:
        """What the marks of a grid compare."""
        ranked = grid(measured)["rank"].notna().any()
        return ["best and ≈ among methods at the same tap, k and temperature (T)"] if ranked else []


def grid(measured: DataFrame) -> DataFrame:
    """The rows that are accuracies of one pair of several, with its ``k`` and ``temperature``."""
    pairs = measured["metric"].str.extract(r"^accuracy_k(?P<k>\d+)_T(?P<temperature>[\d.e+-]+)$")
    return measured.join(pairs).dropna(subset=["k"]).astype({"k": int, "temperature": float})
