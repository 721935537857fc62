"""What the protocols that probe frozen taps share: the classifiers and their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from sslbench import Encoder, FeatureSpec, Measurement, Protocol, Representation, accuracies, probes, require

PAPERS_COURSE: dict[str, Any] = {
    "optimiser": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "rate": lambda progress: 0.2 ** sum(progress >= at for at in (0.4, 0.8, 0.9)),
    "batch": 128,
    "seed": 0,
}
"""As Gidaris et al.'s code trains classifiers on CIFAR-10. https://github.com/gidariss/FeatureLearningRotNet"""


@dataclass(frozen=True, kw_only=True)
class Probing(Protocol):
    """Accuracy of a classifier on each frozen tap, pooled to a grid and standardised with train statistics."""

    head: Literal["linear", "mlp"] = "linear"
    solver: Literal["lbfgs", "sgd"] = "lbfgs"  # lbfgs is AdamW where the head is mlp; sgd is the papers' long way
    epochs: int = 50  # of solver = sgd
    features: int = 2048  # each tap is pooled to at most so many values; the papers took about 9000
    pooling: Literal["average", "max"] = "average"
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the regularisation: scikit-learn's C
    held_out: float = 0.1  # share of train on which the regularisation is chosen
    presets: ClassVar = {"smoke": {"features": 512}}

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        require(min(self.strengths, default=0) > 0, f"{name}.strengths", self.strengths, "one or more numbers above 0")
        require(self.features >= 1, f"{name}.features", self.features, "at least 1")
        require(self.epochs >= 1, f"{name}.epochs", self.epochs, "at least 1")
        require(0 < self.held_out < 1, f"{name}.held_out", self.held_out, "a share between 0 and 1")

    def grids(self) -> tuple[FeatureSpec, ...]:
        """Each tap on a grid."""
        return tuple(FeatureSpec(tap, self.features, self.pooling) for tap in self.taps)

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """What the classifiers read."""
        return self.grids()

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields micro and macro accuracy at each tap."""
        for spec in self.grids():
            predictions, details = self.probed(representation, spec)
            yield from accuracies(spec.tap, predictions, representation.test_labels, **details)

    def probed(
        self,
        representation: Representation,
        spec: FeatureSpec,
        rows: Tensor | None = None,
        classify: Callable[[], probes.Probe] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Predictions (M,) on the test split by a classifier of frozen features, their confidences and what was chosen.

        The classifier is taught by all train images or by those at ``rows`` (n,), or is that which ``classify`` brings.
        """
        if self.solver == "sgd":
            rows = torch.arange(len(representation.train_labels)) if rows is None else rows
            encoder = representation.encoder_copy()
            course = PAPERS_COURSE | {"views": self.epochs * len(rows)}
            return self.learnt(representation, spec, rows, encoder, tuned=False, **course), {}
        probe = classify() if classify else self.classifier(representation, spec, rows)
        return probe.predictions, {
            "confidences": probe.scores.softmax(1).amax(1),
            "strength": probe.strength,
            "validation_accuracy": float(probe.validation.max()),
        }

    def classifier(self, representation: Representation, spec: FeatureSpec, rows: Tensor | None = None) -> probes.Probe:
        """The classifier of frozen features, taught by all train images or by those at ``rows`` (n,)."""
        features, labels = representation.train(spec), representation.train_labels.to(representation.device)
        if rows is not None:
            rows = rows.to(representation.device)
            features, labels = features[rows], labels[rows]
        fit = partial(probes.linear_probe, strengths=self.strengths) if self.head == "linear" else probes.mlp_probe
        return fit(features, labels, representation.test(spec), representation.classes, held_out=self.held_out)

    def learnt(
        self,
        representation: Representation,
        spec: FeatureSpec,
        rows: Tensor,
        encoder: Encoder,
        *,
        tuned: bool,
        start: tuple[Tensor, Tensor] | None = None,
        **course: Any,
    ) -> Tensor:
        """Predictions (M,) on the test split by a classifier that views of the train images at ``rows`` (n,) taught.

        With ``tuned`` the encoder learns too; with ``start`` a linear head begins with these weights (D, K) and bias
        (K,); the ``course`` is that of `bench.evaluation.probes.taught`.
        """
        features, device = representation.test(spec).shape[1], representation.device
        where: dict[str, Any] = {"low": representation.low, "device": device}

        def build() -> probes.Classifier:
            network = probes.Classifier(encoder, spec, features, representation.classes, head=self.head, tuned=tuned)
            network = network.to(device)
            if start:
                network.begin(representation.train(spec)[rows.to(device)], *start)
            return network

        network = probes.taught(
            build, representation.train_images, rows, representation.train_labels, **course, **where
        )
        return probes.answers(network, representation.test_images, **where)
