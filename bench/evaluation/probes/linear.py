"""The linear probe: logistic regression whose regularisation is chosen on a held-out part of train.

S regularisation strengths, D features, K classes, M test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .feature_table import FeatureTable, check_features, rows_per_chunk, training_mask
from .logistic import LogisticModels, LogisticProblem
from .validation import Choice, choose_strength, validation_masks

DEFAULT_STRENGTH = 1.0  # where none can be chosen; scikit-learn's default
DEFAULT_STRENGTHS = tuple(10.0 ** (e / 2) for e in range(-12, 1))


@dataclass(frozen=True)
class ProbeResult:
    """Predictions of a probe for the test images, and the regularisation that was chosen."""

    predictions: Tensor  # (M,)
    scores: Tensor  # (M, K) logits
    strength: float  # the chosen regularisation: C of linear_probe, the weight decay of mlp_probe
    validation_accuracies: Tensor  # (S,) held-out accuracy of each strength, in the order given; NaN if not measured
    choice: Choice  # how the strength was chosen
    fit_statistics: dict[str, float]
    linear: tuple[Tensor, Tensor] | None = None  # weights (D, K) and bias (K,) for features that are not standardised


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    num_classes: int,
    *,
    strengths: Sequence[float] | Tensor = DEFAULT_STRENGTHS,
    held_out: float = 0.1,
    seed: int = 0,
    tolerance: float = 1e-5,
    precision: str = "auto",
    keep: Tensor | None = None,
) -> ProbeResult:
    """Fits logistic regression to standardised features (N, D) and applies it to test features (M, D).

    The strength C is chosen on the share ``held_out`` of train; then the model is fitted again to all of train. If this
    share has too few images, C is cross-validated; if every class has only one image, C is the strength nearest to
    `DEFAULT_STRENGTH`. Of strengths with equal accuracy the strongest regularisation (the smallest C) wins. Until the
    last fit the held-out images do not contribute to mean and scale. The choice on one held-out part uses a loose
    tolerance, every other fit the one given. A mask ``keep`` (N,) that is false for the held-out rows replaces the
    share, where rows belong together that must not be separated.
    """
    labels = check_features(train_features, train_labels, num_classes)
    check_features(test_features)
    C = torch.as_tensor(strengths, dtype=torch.float64)
    whole = LogisticProblem(FeatureTable(train_features, standardise=True), labels, num_classes)
    whole.table.free_memory()  # one standardised copy at a time
    masks = validation_masks(labels, training_mask(labels, held_out, seed), held_out, seed) if keep is None else [keep]
    # Fits to few images are cheap. A loose one may end where it began, and all of its scores would be equal.
    loose = max(tolerance, 1e-3) if len(masks) == 1 else tolerance
    trials: list[LogisticModels] = []

    def count_correct(keep: Tensor) -> Tensor:
        if whole.directions is None:
            table = FeatureTable(train_features, standardise=True, keep=keep)
            part, mask = LogisticProblem(table, labels, num_classes, whole.curvature), keep
        else:  # the rows to keep are few enough to copy, and must span their own space
            table, mask = FeatureTable(train_features[keep], standardise=True), None
            part = LogisticProblem(table, labels[keep], num_classes)
        trials.append(part.solve(C, part.initial_parameters(C), loose, 100, precision, mask))
        part.table.free_memory()
        return count_correct_held_out(trials[-1], train_features, labels, keep)

    chosen = choose_strength(C, masks, count_correct, default=DEFAULT_STRENGTH, prefer=lambda strengths: strengths)
    best = C[chosen.index : chosen.index + 1]
    start = whole.parameters_of(trials[-1], chosen.index) if trials else whole.initial_parameters(best)
    final = whole.solve(best, start, tolerance, 1000, precision)
    scores = final.scores(test_features)[0]
    passes = sum(int(models.iterations.max()) for models in trials) + float(final.iterations[0])
    return ProbeResult(
        predictions=scores.argmax(1),
        scores=scores,
        strength=float(best),
        validation_accuracies=chosen.accuracies,
        choice=chosen.choice,
        fit_statistics={"objective": float(final.objective[0]), "passes": passes},
        linear=(final.weights[0], final.bias[0]),
    )


def count_correct_held_out(trials: LogisticModels, features: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """How many rows where ``keep`` (N,) is false each model classifies correctly, float64 (S,)."""
    correct = torch.zeros(len(trials.weights), dtype=torch.float64, device=labels.device)
    end = 0
    for x in features.split(rows_per_chunk(features)):
        span = slice(end, end := end + len(x))
        out = ~keep[span]
        correct += (trials.predict(x[out]) == labels[span][out]).sum(1)
    return correct
