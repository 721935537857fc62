"""What the protocols that probe frozen taps share: the classifiers and their settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.errors import require
from bench.probes import linear_probe, mlp_probe
from bench.protocol import Number, Protocol, accuracies
from bench.representation import Reading, Representation


@dataclass(frozen=True, kw_only=True)
class Probing(Protocol):
    """Accuracy of a classifier on each frozen tap, pooled to a grid and standardised with train statistics."""

    head: Literal["linear", "mlp"] = "linear"
    features: int = 2048  # each tap is pooled to at most so many values; the papers took about 9000
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the regularisation: scikit-learn's C
    held_out: float = 0.1  # share of train on which the regularisation is chosen

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        require(min(self.strengths, default=0) > 0, f"{name}.strengths", self.strengths, "one or more numbers above 0")
        require(self.features >= 1, f"{name}.features", self.features, "at least 1")
        require(0 < self.held_out < 1, f"{name}.held_out", self.held_out, "a share between 0 and 1")

    def readings(self) -> tuple[Reading, ...]:
        """Each tap on a grid."""
        return tuple(Reading(tap, self.features) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Number]:
        """Yields micro and macro accuracy at each tap."""
        fit = partial(linear_probe, strengths=self.strengths) if self.head == "linear" else mlp_probe
        for reading in self.readings():
            probe = fit(
                representation.train(reading),
                representation.train_labels.to(representation.device),
                representation.test(reading),
                representation.classes,
                held_out=self.held_out,
            )
            details = {"strength": probe.strength, "validation_accuracy": float(probe.validation.max())}
            yield from accuracies(reading.tap, probe.predictions, representation.test_labels, **details)
