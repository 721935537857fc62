"""Logistic regression for many regularisation strengths at once, by preconditioned L-BFGS.

N images, D features, K classes, S regularisation strengths, A strengths that have not converged yet, M test images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError, require
from ...precision import low_precision
from .curvature import FEW_ROWS, Curvature, row_space
from .feature_table import FeatureTable, check_features, rows_per_chunk

HISTORY = 10  # pairs of steps that L-BFGS remembers


@dataclass(frozen=True)
class LogisticModels:
    """S multinomial logistic regressions; weights and bias apply to features that are not standardised."""

    weights: Tensor  # (S, D, K)
    bias: Tensor  # (S, K); -inf for a class without a training image
    objective: Tensor  # (S,) float64: mean cross-entropy + penalty, see logistic_regression
    iterations: Tensor  # (S,) passes over the features

    def scores(self, features: Tensor) -> Tensor:
        """Logits (S, N, K) of features (N, D)."""
        flat = self.weights.permute(1, 0, 2).flatten(1)  # (D, S * K)
        chunks = [x.to(flat.device, torch.float32) @ flat for x in features.split(rows_per_chunk(features))]
        logits: Tensor = torch.cat(chunks).unflatten(1, self.bias.shape).transpose(0, 1) + self.bias[:, None]
        return logits

    def predict(self, features: Tensor) -> Tensor:
        """Classes (S, N) of features (N, D)."""
        return torch.cat([self.scores(x).argmax(-1) for x in features.split(rows_per_chunk(features))], dim=1)


def logistic_regression(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    strengths: Sequence[float] | Tensor,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    precision: str = "auto",
) -> LogisticModels:
    """Minimises  mean cross-entropy + ||W||^2 / (2 C N)  over W and an unpenalised bias, for every strength C at once.

    This is scikit-learn's objective divided by C N, so the optimum is that of LogisticRegression(C=C). With two classes
    scikit-learn keeps one weight vector for both, which amounts to twice the penalty; the same is done here. A strength
    has converged when the next step is expected to lower its objective by less than ``tolerance`` nats.
    ``precision`` is "auto", "bf16" or "fp32". Raises UserError where all labels are the same.
    """
    labels = check_features(features, labels, num_classes)
    problem = LogisticProblem(FeatureTable(features, standardise=False), labels, num_classes)
    return problem.solve(strengths, problem.initial_parameters(strengths), tolerance, max_iterations, precision)


class LogisticProblem:
    """Logistic regression on one feature table, for any strengths and any part of its rows.

    Where images are few, the rows are replaced by their coordinates (N, R) along the directions that they span.
    """

    def __init__(
        self, table: FeatureTable, labels: Tensor, num_classes: int, curvature: Curvature | None = None
    ) -> None:
        """``curvature`` may be that of similar rows, if known: it only preconditions the search."""
        self.table, self.num_classes = table, num_classes
        self.present, self.labels = torch.unique(labels, return_inverse=True)
        if len(self.present) < 2:
            raise UserError("all training images have the same label: a classifier needs at least two classes.")
        self.priors = torch.bincount(self.labels) / len(labels)  # (K,) of the classes present
        self.rows: Iterable[Tensor] = table
        self.directions: Tensor | None = None  # (D, R)
        n, d = table.features.shape
        if n <= min(d, FEW_ROWS):
            coordinates, self.directions, self.curvature = row_space(table)
            self.rows = [coordinates]
        else:
            self.curvature = curvature or Curvature.of(table)

    def initial_parameters(self, strengths: Sequence[float] | Tensor) -> Tensor:
        """Parameters (S, K, D + 1), bias last: zero weights, and the log frequency of each class as its bias."""
        d = self.table.features.shape[1] if self.directions is None else self.directions.shape[1]
        start = torch.zeros(len(strengths), len(self.priors), d + 1, device=self.priors.device)
        start[..., -1] = self.priors.log()
        return start

    def parameters_of(self, models: LogisticModels, index: int) -> Tensor:
        """Parameters (1, K, D + 1) of one model, fitted to these or other rows of the same features."""
        weights = models.weights[index].T[self.present]  # (K, D)
        bias = models.bias[index][self.present].double() + weights.double() @ self.table.mean.double()
        weights = weights / self.table.scale.masked_fill(self.table.scale == 0, torch.inf)
        weights = weights if self.directions is None else weights @ self.directions
        return torch.cat([weights, bias.float()[:, None]], dim=1)[None]

    def solve(
        self,
        strengths: Sequence[float] | Tensor,
        start: Tensor,
        tolerance: float,
        max_iterations: int,
        precision: str = "auto",
        keep: Tensor | None = None,
    ) -> LogisticModels:
        """Fits a model per strength, starting from parameters (S, K, D + 1), to the rows where ``keep`` (N,) is true.

        In low precision the search first runs in bf16, then finishes in float32.
        """
        C = torch.as_tensor(strengths, dtype=torch.float64, device=start.device)
        require(bool((C > 0).all()) and len(C) > 0, "strengths", C.tolist(), "one or more positive numbers")
        rows = float(len(self.labels) if keep is None else keep.sum())
        penalty = (2 if len(self.priors) == 2 else 1) / (C * rows)
        size = start[0].numel() * 4 * (2 * HISTORY + 8)
        group = max(1, min(2**31 // size, 4096 // len(self.priors)))  # bounds the memory of steps and of logits
        stages = [(torch.bfloat16, 1e-2)] if low_precision(start.device, precision) else []
        parts = []
        for p, x in zip(penalty.split(group), start.split(group), strict=True):
            passes = torch.zeros_like(p)
            for dtype, loose in [*stages, (torch.float32, 0.0)]:
                x, objective, count = self.minimise(x, p, keep, dtype, max(loose, tolerance), max_iterations)
                passes += count
            parts.append((x, objective, passes.long()))
        x, objective, passes = (torch.cat(column) for column in zip(*parts, strict=True))
        return self.to_models(x, objective, passes)

    def minimise(
        self, x: Tensor, penalty: Tensor, keep: Tensor | None, dtype: torch.dtype, tolerance: float, max_iterations: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """L-BFGS on all strengths (A,) at once; returns parameters, objectives and numbers of passes.

        A step is taken only if it lowers the objective enough. If not, the next step from the same point is half as
        long. Rejected steps also teach L-BFGS about the curvature, which is sound because the objective is convex.
        """
        found, objective, passes = x.clone(), torch.zeros_like(penalty), torch.zeros_like(penalty)
        active, shrink = torch.arange(len(x), device=x.device), torch.ones_like(penalty)
        f, g, flatness = self.evaluate(x, penalty, keep, dtype)
        pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        for iteration in range(1, max_iterations + 1):
            direction = self.search_direction(g, flatness, penalty, pairs)
            decrease = dot(g, direction)
            found[active], objective[active], passes[active] = x, f, float(iteration)
            going = (decrease / 2 > tolerance) & (shrink > 1e-3)
            if iteration == max_iterations or not bool(going.any()):
                break
            if not bool(going.all()):
                active, x, f, g, flatness = (v[going] for v in (active, x, f, g, flatness))
                penalty, shrink = penalty[going], shrink[going]
                direction, decrease = direction[going], decrease[going]
                pairs = [(s[going], y[going], r[going]) for s, y, r in pairs]
            step = direction * -shrink.float()[:, None, None]
            f_new, g_new, flatness_new = self.evaluate(x + step, penalty, keep, dtype)
            change = g_new - g
            bend = dot(step, change)
            pairs = [*pairs, (step, change, torch.where(bend > 0, 1 / bend, 0))][-HISTORY:]
            lower = f_new <= f - 1e-4 * shrink * decrease
            wide = lower[:, None, None]
            x, f, g = torch.where(wide, x + step, x), torch.where(lower, f_new, f), torch.where(wide, g_new, g)
            flatness, shrink = torch.where(lower, flatness_new, flatness), torch.where(lower, 1.0, shrink / 2)
        return found, objective, passes

    def search_direction(
        self, gradient: Tensor, flatness: Tensor, penalty: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]
    ) -> Tensor:
        """Approximate inverse Hessian times gradient, by Nocedal's two-loop recursion.

        The inner matrix is the Hessian at zero weights, scaled by ``flatness`` (see `evaluate`).
        """
        q, shares = gradient.clone(), []
        for s, y, r in reversed(pairs):
            shares.append((r * dot(s, q)).float()[:, None, None])
            q -= shares[-1] * y
        weight = self.priors[:, None] * flatness.float().clamp_min(1e-6)[:, None, None]
        inner = self.curvature.solve(q[..., :-1], weight, penalty.float()[:, None, None])
        q = torch.cat([inner, q[..., -1:] / weight], dim=-1)
        for (s, y, r), share in zip(pairs, reversed(shares), strict=True):
            q += (share - (r * dot(y, q)).float()[:, None, None]) * s
        return q

    def evaluate(
        self, x: Tensor, penalty: Tensor, keep: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Objective (A,) of parameters (A, K, D + 1), its gradient (A, K, D + 1), and flatness (A,).

        The objective is summed in float64, since rounding would mislead the search. Flatness is the mean of
        1 - sum p^2, relative to its value at zero weights: the size of the Hessian falls with it as predictions become
        certain.
        """
        shape = x.shape[:2]
        weights, bias = x[..., :-1].flatten(0, 1).to(dtype), x[..., -1].flatten()[:, None]
        gradient = torch.zeros_like(x).flatten(0, 1)
        loss, certain = torch.zeros_like(penalty), torch.zeros_like(penalty)
        end, rows = 0, float(len(self.labels) if keep is None else keep.sum())
        for chunk in self.rows:
            span = slice(end, end := end + len(chunk))
            chunk = chunk.to(dtype)
            labels = self.labels[span].expand(shape[0], 1, -1)
            if dtype == torch.float32:
                logits = torch.addmm(bias, weights, chunk.T)
            else:
                logits = (weights @ chunk.T).float() + bias
            log_p = logits.unflatten(0, shape).log_softmax(1)  # (A, K, n)
            cross_entropy = -log_p.gather(1, labels)[:, 0].double()
            residual = log_p.exp_()
            certain += dot(residual, residual)
            residual.scatter_add_(1, labels, torch.full((), -1.0, device=x.device).expand(labels.shape))
            if keep is not None:
                cross_entropy, residual = cross_entropy * keep[span], residual.mul_(keep[span])
            loss += cross_entropy.sum(1)
            flat = residual.flatten(0, 1)
            if dtype == torch.float32:
                gradient[:, :-1].addmm_(flat, chunk)
            else:
                gradient[:, :-1] += (flat.to(dtype) @ chunk).float()
            gradient[:, -1] += flat.sum(1)
        gradient = gradient.unflatten(0, shape) / rows
        w = x[..., :-1]
        gradient[..., :-1] += penalty.float()[:, None, None] * w
        flatness = (1 - certain / end) / (1 - self.priors.square().sum())
        return loss / rows + penalty / 2 * dot(w, w), gradient, flatness

    def to_models(self, x: Tensor, objective: Tensor, passes: Tensor) -> LogisticModels:
        """Models for features that are not standardised, from parameters (S, K, D + 1) for the table's rows."""
        weights = x[..., :-1] if self.directions is None else x[..., :-1] @ self.directions.T
        weights = weights * self.table.scale
        bias = x[..., -1].double() - weights.double() @ self.table.mean.double()
        all_weights = torch.zeros(len(x), self.num_classes, weights.shape[-1], device=x.device)
        all_weights.index_copy_(1, self.present, weights)
        all_bias = torch.full((len(x), self.num_classes), -torch.inf, device=x.device)
        return LogisticModels(all_weights.mT, all_bias.index_copy_(1, self.present, bias.float()), objective, passes)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (A,) of A pairs, in float64."""
    products: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return products.double()
