"""The linear probe: logistic regression at the strength that a held-out part of train prefers.

S regularisation strengths, D features, K classes, M test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .logistic import Logistic, Regression
from .rows import Table, check, chunk_rows, training_part

STRENGTHS = tuple(10.0 ** (e / 2) for e in range(-12, 1))


@dataclass(frozen=True)
class Probe:
    """What a probe says about the test images, and how it was chosen."""

    predictions: Tensor  # (M,)
    scores: Tensor  # (M, K) logits
    strength: float  # of the regularisation: C of linear_probe, the weight decay of mlp_probe
    validation: Tensor  # (S,) held-out accuracy of each strength, in the order given
    fit: dict[str, float]
    linear: tuple[Tensor, Tensor] | None = None  # weights (D, K) and bias (K,), for the features as they were given


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    strengths: Sequence[float] | Tensor = STRENGTHS,
    held_out: float = 0.1,
    seed: int = 0,
    tolerance: float = 1e-5,
    precision: str = "auto",
) -> Probe:
    """Logistic regression on standardised features: strength chosen on a held-out part of train, refit on all of train.

    Of strengths that tie, the strongest regularisation wins. The choice is made at a loose tolerance, then the refit is
    precise. What is held out has no part in mean and scale until the refit.
    """
    labels = check(train_features, train_labels, classes)
    check(test_features)
    C = torch.as_tensor(strengths, dtype=torch.float64)
    keep = training_part(labels, held_out, seed)
    whole = Regression(Table(train_features, standardise=True), labels, classes)
    whole.table.kept.clear()  # one prepared copy at a time
    if whole.lift is None:
        part = Regression(Table(train_features, standardise=True, keep=keep), labels, classes, whole.curvature)
    else:  # the rows to keep are few enough to be copied, and must span their own space
        part = Regression(Table(train_features[keep], standardise=True), labels[keep], classes)
    trials = part.solve(C, part.start(C), max(tolerance, 1e-3), 100, precision, keep if whole.lift is None else None)
    part.table.kept.clear()
    validation = held_out_accuracy(trials, train_features, labels, keep).to(C.device)
    best = int(C.masked_fill(validation < validation.max(), torch.inf).argmin())
    final = whole.solve(C[best : best + 1], whole.start_at(trials, best), tolerance, 1000, precision)
    scores = final.scores(test_features)[0]
    fit = {"objective": float(final.objective[0]), "passes": float(trials.iterations.max() + final.iterations[0])}
    return Probe(scores.argmax(1), scores, float(C[best]), validation, fit, (final.weights[0], final.bias[0]))


def held_out_accuracy(trials: Logistic, features: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Accuracy (S,) on the rows not kept; 0 where there are none."""
    right = torch.zeros(len(trials.weights), dtype=torch.float64, device=labels.device)
    at = 0
    for x in features.split(chunk_rows(features)):
        span = slice(at, at := at + len(x))
        out = ~keep[span]
        right += (trials.predict(x[out]) == labels[span][out]).sum(1)
    return right / max(1, int((~keep).sum()))
