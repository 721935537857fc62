"""The base class of protocols that train a classifier on frozen features, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Interval, MinLen
from torch import Tensor

from sslbench import (
    Count,
    Encoder,
    FeatureSpec,
    Measurement,
    Pooling,
    Protocol,
    Representation,
    UserError,
    accuracy_measurements,
    probes,
)

from ._grids import grids_of

GIDARIS_TRAINING: dict[str, Any] = {
    "optimiser": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "learning_rate_factor": lambda progress: 0.2 ** sum(progress >= step for step in (0.4, 0.8, 0.9)),
    "batch_size": 128,
    "seed": 0,
}
"""How the code of Gidaris et al. trains classifiers on CIFAR-10. https://github.com/gidariss/FeatureLearningRotNet"""


@dataclass(frozen=True, kw_only=True)
class Probing(Protocol):
    """Accuracy of a classifier on each frozen tap, whose maps are pooled to a grid and standardised."""

    head: Literal["linear", "mlp"] = "linear"
    solver: Literal["lbfgs", "sgd"] = "lbfgs"  # lbfgs (AdamW for the mlp head) uses stored features; sgd the images
    epochs: Count = 50  # of solver = sgd
    features: Count = 2048  # each tap is pooled to at most so many values; the papers took about 9000
    pooling: Pooling = "average"  # average and max: of the cells of a grid; mean: of all positions
    # scikit-learn's C
    strengths: Annotated[tuple[Annotated[float, Interval(ge=1e-9, le=1e9)], ...], MinLen(1)] = (
        1e-4,
        1e-3,
        0.01,
        0.1,
        1.0,
    )
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.1  # share of train on which the strength is chosen
    presets: ClassVar = {"smoke": {"features": 512}}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strengths != Probing.strengths and (self.head == "mlp" or self.solver == "sgd"):
            raise UserError(
                f"{type(self).__name__.lower()}.strengths: only head = linear with solver = lbfgs chooses a strength, "
                "so the setting would do nothing; leave it out."
            )

    def grid_specs(self) -> tuple[FeatureSpec, ...]:
        """The feature spec of the classifier at each tap."""
        return grids_of(self.taps, self.features, self.pooling)

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """The features that the protocol reads."""
        return self.grid_specs()

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the accuracy and the mean accuracy per class at each tap."""
        for spec in self.grid_specs():
            predictions, details = self.predict_frozen(representation, spec)
            yield from accuracy_measurements(spec.tap, predictions, representation.test_labels, **details)

    def predict_frozen(
        self,
        representation: Representation,
        spec: FeatureSpec,
        rows: Tensor | None = None,
        fit: Callable[[], probes.ProbeResult] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Predictions (M,) of the test images by a classifier on the frozen encoder, and details for the record.

        It is trained on all train images, or on those at ``rows`` (n,). ``fit`` replaces `fit_classifier`, for a caller
        that has fitted the same classifier already.
        """
        if self.solver == "sgd":
            rows = torch.arange(len(representation.train_labels)) if rows is None else rows
            encoder = representation.encoder_copy()
            training = GIDARIS_TRAINING | {"views": self.epochs * len(rows)}
            return self.train_and_predict(representation, spec, rows, encoder, train_encoder=False, **training), {}
        result = fit() if fit else self.fit_classifier(representation, spec, rows)
        return result.predictions, {
            "confidences": result.scores.softmax(1).amax(1),
            **describe_strength(result),
        }

    def fit_classifier(
        self, representation: Representation, spec: FeatureSpec, rows: Tensor | None = None
    ) -> probes.ProbeResult:
        """Fits the classifier to the stored features of all train images, or of those at ``rows`` (n,)."""
        features, labels = representation.train(spec), representation.train_labels.to(representation.device)
        if rows is not None:
            rows = rows.to(representation.device)
            features, labels = features[rows], labels[rows]
        probe = partial(probes.linear_probe, strengths=self.strengths) if self.head == "linear" else probes.mlp_probe
        return probe(features, labels, representation.test(spec), representation.num_classes, held_out=self.held_out)

    def train_and_predict(
        self,
        representation: Representation,
        spec: FeatureSpec,
        rows: Tensor,
        encoder: Encoder,
        *,
        train_encoder: bool,
        start: tuple[Tensor, Tensor] | None = None,
        **training: Any,
    ) -> Tensor:
        """Trains a classifier on views of the train images at ``rows`` (n,); returns test predictions (M,).

        With ``train_encoder`` the encoder is trained too. With ``start`` a linear head starts from these weights (D, K)
        and this bias (K,). The other arguments are passed to `probes.fine_tune`.
        """
        features, device = representation.test(spec).shape[1], representation.device
        where: dict[str, Any] = {"bf16": representation.computes_in_bf16, "device": device}

        def build() -> probes.Classifier:
            classifier = probes.Classifier(
                encoder, spec, features, representation.num_classes, head=self.head, train_encoder=train_encoder
            ).to(device)
            if start:
                classifier.initialise_head(representation.train(spec)[rows.to(device)], *start)
            return classifier

        classifier = probes.fine_tune(
            build, representation.train_images, rows, representation.train_labels, **training, **where
        )
        return probes.predict_classes(classifier, representation.test_images, **where)


def describe_strength(result: probes.ProbeResult) -> dict[str, Any]:
    """The strength of a fitted classifier and how it was chosen, for the record.

    ``validation_accuracy`` is missing if no images were held out.
    """
    details: dict[str, Any] = {"strength": result.strength, "strength_choice": result.choice}
    if not result.validation_accuracies.isnan().any():
        details["validation_accuracy"] = float(result.validation_accuracies.max())
    return details
