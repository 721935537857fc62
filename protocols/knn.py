"""k nearest neighbours: are images of a class close to each other, with nothing learned at all?

Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
CVPR 2018, section 3.4: cosine similarity s of globally pooled features, each of the k nearest train
images votes for its class with weight exp(s / T). https://arxiv.org/abs/1805.01978
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.data import Facts
from bench.errors import UserError, require
from bench.probes import knn
from bench.protocol import Number, Protocol, accuracies
from bench.representation import Reading, Representation


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

    def check(self, facts: Facts) -> None:
        """k neighbours must be there to be found."""
        super().check(facts)
        if max(self.k) > facts.train_images:
            raise UserError(
                f"knn.k = {max(self.k)}: {facts.name} has only {facts.train_images} train images; "
                f"--set knn.k={max(1, facts.train_images // 10)} fits."
            )

    def readings(self) -> tuple[Reading, ...]:
        """Each tap's mean."""
        return tuple(Reading(tap) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Number]:
        """Yields micro and macro accuracy at each tap, and the accuracy of every other (k, temperature)."""
        for reading in self.readings():
            votes = knn(
                representation.train(reading),
                representation.train_labels.to(representation.device),
                representation.test(reading),
                representation.classes,
                k=self.k,
                temperature=self.temperature,
            )
            for (k, temperature), predictions in votes.items():
                numbers = accuracies(reading.tap, predictions, representation.test_labels, k=k, temperature=temperature)
                if (k, temperature) == (self.k[0], self.temperature[0]):
                    yield from numbers
                else:
                    first = next(numbers)
                    yield Number(
                        tap=reading.tap,
                        metric=f"accuracy_k{k}_T{temperature:g}",
                        value=first.value,
                        low=first.low,
                        high=first.high,
                    )
