"""Logistic regression at many strengths side by side: one L-BFGS, preconditioned by the features' covariance.

N images, D features, K classes, S regularisation strengths, A strengths still running, M test images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError, require
from ...precision import low_precision
from .curvature import FEW, Curvature, row_space
from .rows import Table, check, chunk_rows

HISTORY = 10  # pairs of steps that L-BFGS remembers


@dataclass(frozen=True)
class Logistic:
    """S multinomial logistic regressions; weights and bias apply to the features as they were given."""

    weights: Tensor  # (S, D, K)
    bias: Tensor  # (S, K); -inf for a class without a training image
    objective: Tensor  # (S,) float64: mean cross-entropy + penalty, see logistic_regression
    iterations: Tensor  # (S,) passes over the features

    def scores(self, features: Tensor) -> Tensor:
        """Logits (S, N, K) of features (N, D)."""
        flat = self.weights.permute(1, 0, 2).flatten(1)  # (D, S * K)
        logits = [x.to(flat.device, torch.float32) @ flat for x in features.split(chunk_rows(features))]
        return torch.cat(logits).unflatten(1, self.bias.shape).transpose(0, 1) + self.bias[:, None]

    def predict(self, features: Tensor) -> Tensor:
        """Classes (S, N) of features (N, D)."""
        return torch.cat([self.scores(x).argmax(-1) for x in features.split(chunk_rows(features))], dim=1)


def logistic_regression(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strengths: Sequence[float] | Tensor,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    precision: str = "auto",
) -> Logistic:
    """Minimises  mean cross-entropy + ||W||^2 / (2 C N)  over W and an unpenalised bias, for every strength C at once.

    That is scikit-learn's objective divided by C N, so the optimum is that of LogisticRegression(C=C); its two-class
    form keeps one weight vector for two, which amounts to twice the penalty, and so it is here. A strength is done when
    the step ahead promises to lower its objective by less than ``tolerance`` nats. ``precision``: "auto", "bf16" or
    "fp32".
    """
    labels = check(features, labels, classes)
    problem = Regression(Table(features, standardise=False), labels, classes)
    return problem.solve(strengths, problem.start(strengths), tolerance, max_iterations, precision)


class Regression:
    """Logistic regression on a table, for any strengths and any part of its rows."""

    def __init__(self, table: Table, labels: Tensor, classes: int, curvature: Curvature | None = None) -> None:
        """``curvature``: that of rows so alike that it will do to find the way, if known."""
        self.table, self.classes = table, classes
        self.present, self.labels = torch.unique(labels, return_inverse=True)
        if len(self.present) < 2:
            raise UserError("All training images have the same label: a classifier needs two classes at least.")
        self.priors = torch.bincount(self.labels) / len(labels)  # (K,) of the classes present
        self.rows: Iterable[Tensor] = table
        self.lift: Tensor | None = None
        n, d = table.features.shape
        if n <= min(d, FEW):
            coordinates, self.lift, self.curvature = row_space(table)
            self.rows = [coordinates]
        else:
            self.curvature = curvature or Curvature.of(table)

    def start(self, strengths: Sequence[float] | Tensor) -> Tensor:
        """Parameters (S, K, D + 1), the bias last: nothing known but how frequent the classes are."""
        d = self.table.features.shape[1] if self.lift is None else self.lift.shape[1]
        start = torch.zeros(len(strengths), len(self.priors), d + 1, device=self.priors.device)
        start[..., -1] = self.priors.log()
        return start

    def start_at(self, found: Logistic, which: int) -> Tensor:
        """Parameters (1, K, D + 1) of one regression found before, on these or other rows of the same features."""
        weights = found.weights[which].T[self.present]  # (K, D)
        bias = found.bias[which][self.present].double() + weights.double() @ self.table.mean.double()
        weights = weights / self.table.scale.masked_fill(self.table.scale == 0, torch.inf)
        weights = weights if self.lift is None else weights @ self.lift
        return torch.cat([weights, bias.float()[:, None]], dim=1)[None]

    def solve(
        self,
        strengths: Sequence[float] | Tensor,
        start: Tensor,
        tolerance: float,
        max_iterations: int,
        precision: str = "auto",
        keep: Tensor | None = None,
    ) -> Logistic:
        """The regressions on the rows to ``keep`` (N,)."""
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
        return self.unfolded(x, objective, passes)

    def minimise(
        self, x: Tensor, penalty: Tensor, keep: Tensor | None, dtype: torch.dtype, tolerance: float, max_iterations: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """L-BFGS on all strengths (A,) side by side: parameters, objectives, passes.

        Every pass gives each strength a pair of a step and a change of gradient to learn from, whether the step was
        taken or not (the objective is convex); after one that was not, the next is half as long, from the same place.
        """
        found, objective, passes = x.clone(), torch.zeros_like(penalty), torch.zeros_like(penalty)
        active, shrink = torch.arange(len(x), device=x.device), torch.ones_like(penalty)
        f, g, doubt = self.evaluate(x, penalty, keep, dtype)
        pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        for iteration in range(1, max_iterations + 1):
            direction = self.direction(g, doubt, penalty, pairs)
            promise = dot(g, direction)
            found[active], objective[active], passes[active] = x, f, float(iteration)
            going = (promise / 2 > tolerance) & (shrink > 1e-3)
            if iteration == max_iterations or not bool(going.any()):
                break
            if not bool(going.all()):
                active, x, f, g, doubt = (v[going] for v in (active, x, f, g, doubt))
                penalty, shrink = penalty[going], shrink[going]
                direction, promise = direction[going], promise[going]
                pairs = [(s[going], y[going], r[going]) for s, y, r in pairs]
            step = direction * -shrink.float()[:, None, None]
            f_new, g_new, doubt_new = self.evaluate(x + step, penalty, keep, dtype)
            change = g_new - g
            bend = dot(step, change)
            pairs = [*pairs, (step, change, torch.where(bend > 0, 1 / bend, 0))][-HISTORY:]
            lower = f_new <= f - 1e-4 * shrink * promise
            wide = lower[:, None, None]
            x, f, g = torch.where(wide, x + step, x), torch.where(lower, f_new, f), torch.where(wide, g_new, g)
            doubt, shrink = torch.where(lower, doubt_new, doubt), torch.where(lower, 1.0, shrink / 2)
        return found, objective, passes

    def direction(
        self, gradient: Tensor, doubt: Tensor, penalty: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]
    ) -> Tensor:
        """Inverse Hessian times gradient: Nocedal's two loops around the Hessian at zero weights times the doubt."""
        q, shares = gradient.clone(), []
        for s, y, r in reversed(pairs):
            shares.append((r * dot(s, q)).float()[:, None, None])
            q -= shares[-1] * y
        weight = self.priors[:, None] * doubt.float().clamp_min(1e-6)[:, None, None]
        inner = self.curvature.solve(q[..., :-1], weight, penalty.float()[:, None, None])
        q = torch.cat([inner, q[..., -1:] / weight], dim=-1)
        for (s, y, r), share in zip(pairs, reversed(shares), strict=True):
            q += (share - (r * dot(y, q)).float()[:, None, None]) * s
        return q

    def evaluate(
        self, x: Tensor, penalty: Tensor, keep: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Objective (A,), summed in float64 lest rounding misleads the search; gradient (A, K, D + 1); doubt (A,).

        The doubt is the mean of 1 - sum p^2, and so the size of the Hessian, as a share of what it is at zero weights.
        """
        shape = x.shape[:2]
        weights, bias = x[..., :-1].flatten(0, 1).to(dtype), x[..., -1].flatten()[:, None]
        gradient = torch.zeros_like(x).flatten(0, 1)
        loss, certain = torch.zeros_like(penalty), torch.zeros_like(penalty)
        at, rows = 0, float(len(self.labels) if keep is None else keep.sum())
        for chunk in self.rows:
            span = slice(at, at := at + len(chunk))
            chunk = chunk.to(dtype)
            answers = self.labels[span].expand(shape[0], 1, -1)
            if dtype == torch.float32:
                logits = torch.addmm(bias, weights, chunk.T)
            else:
                logits = (weights @ chunk.T).float() + bias
            log_p = logits.unflatten(0, shape).log_softmax(1)  # (A, K, n)
            cross_entropy = -log_p.gather(1, answers)[:, 0].double()
            residual = log_p.exp_()
            certain += dot(residual, residual)
            residual.scatter_add_(1, answers, torch.full((), -1.0, device=x.device).expand(answers.shape))
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
        doubt = (1 - certain / at) / (1 - self.priors.square().sum())
        return loss / rows + penalty / 2 * dot(w, w), gradient, doubt

    def unfolded(self, x: Tensor, objective: Tensor, passes: Tensor) -> Logistic:
        """Parameters for the table's coordinates as weights for the features themselves."""
        weights = x[..., :-1] if self.lift is None else x[..., :-1] @ self.lift.T
        weights = weights * self.table.scale
        bias = x[..., -1].double() - weights.double() @ self.table.mean.double()
        everywhere = torch.zeros(len(x), self.classes, weights.shape[-1], device=x.device)
        everywhere.index_copy_(1, self.present, weights)
        never = torch.full((len(x), self.classes), -torch.inf, device=x.device)
        return Logistic(everywhere.mT, never.index_copy_(1, self.present, bias.float()), objective, passes)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (A,) of A pairs, in float64."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1)).double()
