"""The solvers behind the protocols: logistic regression, MLP, ridge, nearest neighbours, k-means.

Pure functions on tensors. Everything runs on the device of the features, which may be float16 or float32 and memory-mapped:
they are read in chunks of rows, so the memory needed beyond them stays bounded.

N images, D features, K classes, S regularisation strengths, M test images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.errors import UserError, require

HISTORY = 10  # pairs of steps that L-BFGS remembers
COPY_BYTES = 2**30  # standardised features up to this size are kept, larger ones are made again chunk by chunk


@dataclass(frozen=True)
class Logistic:
    """S multinomial logistic regressions; weights and bias apply to the features as given, standardised or not."""

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


@dataclass(frozen=True)
class Probe:
    """What a probe says about the test images, and how it was chosen."""

    predictions: Tensor  # (M,)
    scores: Tensor  # (M, K) logits
    strength: float
    validation: Tensor  # (S,) held-out accuracy of each strength
    fit: dict[str, float] = field(default_factory=dict)


def chunk_rows(features: Tensor) -> int:
    """How many rows to read at once: what a processor's cache, or a small part of a GPU's memory, holds."""
    elements = 2**26 if features.is_cuda else 2**22
    return max(64, elements // max(1, features[:1].numel()))


class Table:
    """Rows of features, shifted and scaled, in float32 chunks; iterate over it as often as needed."""

    def __init__(self, features: Tensor, *, standardise: bool) -> None:
        self.features, self.chunk = features, chunk_rows(features)
        count, mean, square = 0, 0.0, 0.0
        for x in features.split(self.chunk):  # Chan et al. 1979: variances of parts into the variance of the whole
            variance, centre = torch.var_mean(x.float(), dim=0, correction=0)
            delta, share = centre.double() - mean, len(x) / (count + len(x))
            square = square + variance.double() * len(x) + delta.square() * (count * share)
            mean, count = mean + delta * share, count + len(x)
        std = (square / count).sqrt()
        if not bool(torch.isfinite(mean + std).all()):
            raise UserError("The features hold NaN or infinite numbers: look at the encoder that made them.")
        alive = std > 1e-6 * mean.abs() + 1e-30
        self.mean = mean.float()
        self.scale = torch.where(alive, 1 / std, 0).float() if standardise else torch.ones_like(self.mean)
        small = features.numel() * 4 <= COPY_BYTES
        self.kept = list(self._make()) if small else None

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.kept) if self.kept is not None else self._make()

    def _make(self) -> Iterator[Tensor]:
        for x in self.features.split(self.chunk):
            yield (x.float() - self.mean).mul_(self.scale)


@dataclass(frozen=True)
class Curvature:
    """Eigenvectors of the features' covariance, all or the largest: what L-BFGS starts its Hessian from."""

    vectors: Tensor  # (D, R)
    values: Tensor  # (R,)
    rest: Tensor  # mean eigenvalue of the other D - R directions

    def solve(self, gradient: Tensor, weight: Tensor, penalty: Tensor) -> Tensor:
        """(weight * covariance + penalty)^-1 gradient, for gradients (S, K, D), weight (S, K, 1), penalty (S, 1, 1)."""
        tail = 1 / (weight * self.rest + penalty)
        inside = 1 / (weight * self.values + penalty) - tail
        return gradient * tail + ((gradient @ self.vectors) * inside) @ self.vectors.T


def curvature(table: Table, *, full: int = 2560, rank: int = 512) -> Curvature:
    """The covariance's eigendecomposition: exact up to ``full`` features, otherwise Nyström's of the given rank."""
    n, d = table.features.shape
    device = table.features.device
    if d <= full:
        covariance = torch.zeros(d, d, device=device)
        for x in table:
            covariance.addmm_(x.T, x)
        values, vectors = torch.linalg.eigh(covariance / n)
        return Curvature(vectors, values.clamp_min(0), torch.ones((), device=device))
    # Frangella, Tropp and Udell 2021, "Randomized Nyström preconditioning", algorithm 2.1.
    rank = min(rank, n, d)
    generator = torch.Generator(device).manual_seed(0)
    omega = torch.linalg.qr(torch.randn(d, rank, device=device, generator=generator))[0]
    sketch, trace = torch.zeros(d, rank, device=device), torch.zeros((), device=device)
    for x in table:
        sketch.addmm_(x.T, x @ omega)
        trace += x.square().sum()
    sketch, trace = sketch / n, trace / n
    shift = 1e-6 * torch.linalg.matrix_norm(sketch)
    sketch = sketch + shift * omega
    factor = torch.linalg.cholesky(omega.T @ sketch)
    vectors, singular, _ = torch.linalg.svd(
        torch.linalg.solve_triangular(factor, sketch.T, upper=False).T, full_matrices=False
    )
    values = (singular.square() - shift).clamp_min(0)
    rest = (trace - values.sum()).clamp_min(0) / max(1, d - rank)
    return Curvature(vectors, values, rest + 1e-12)


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
    """Multinomial logistic regression at S strengths C side by side."""
    labels = check_labels(labels, features, classes)
    table = Table(features, standardise=False)
    return fit(table, curvature(table), labels, classes, strengths, tolerance=tolerance, max_iterations=max_iterations)


def fit(
    table: Table,
    shape: Curvature,
    labels: Tensor,
    classes: int,
    strengths: Sequence[float] | Tensor,
    *,
    keep: Tensor | None = None,
    start: Tensor | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    trace: list | None = None,
) -> Logistic:
    device = table.features.device
    keep = torch.ones(len(labels), device=device) if keep is None else keep.to(device, torch.float32)
    present, labels = torch.unique(labels, return_inverse=True)
    n, k, d = float(keep.sum()), len(present), table.features.shape[1]
    if k < 2:
        raise UserError("All training images have the same label: a classifier needs two classes at least.")
    C = torch.as_tensor(strengths, dtype=torch.float64, device=device)
    alpha = (2 if k == 2 else 1) / (C * n)
    priors = torch.zeros(k, device=device).index_add_(0, labels, keep) / n

    x = torch.zeros(len(C), k, d + 1, device=device) if start is None else start.clone()
    if start is None:
        x[..., -1] = priors.clamp_min(1e-12).log()
    best_x, best_f = x.clone(), torch.full_like(C, torch.inf)
    passes = torch.zeros(len(C), dtype=torch.int64, device=device)

    active = torch.arange(len(C), device=device)
    f, g, p = evaluate(table, labels, keep, n, x, alpha)
    S, Y, R = [], [], []
    shrink = torch.ones(len(C), 1, 1, device=device)
    for iteration in range(1, max_iterations + 1):
        a = alpha[active][:, None, None].float()

        def precondition(q: Tensor) -> Tensor:
            h = p[..., None]
            return torch.cat([shape.solve(q[..., :-1], h, a), q[..., -1:] / h], -1)

        d_ = lbfgs(g, S, Y, R, precondition)
        slope = dot(g, d_)
        best_x[active], best_f[active], passes[active] = x, f, iteration
        if trace is not None:
            trace.append((active.clone(), f.clone(), slope.clone()))
        going = slope * 0.5 > tolerance * f.abs()
        if not bool(going.any()):
            break
        if not bool(going.all()):
            active, x, f, g, p, d_, shrink, slope = (v[going] for v in (active, x, f, g, p, d_, shrink, slope))
            S, Y, R = ([v[going] for v in list_] for list_ in (S, Y, R))
        step = -d_ * shrink
        trial = x + step
        f1, g1, p1 = evaluate(table, labels, keep, n, trial, alpha[active])
        y = g1 - g
        sy = dot(step, y)
        S, Y, R = [*S, step][-HISTORY:], [*Y, y][-HISTORY:], [*R, torch.where(sy > 0, 1 / sy, 0)][-HISTORY:]
        better = f1 <= f - 1e-4 * slope * shrink[:, 0, 0]
        f = torch.where(better, f1, f)
        b = better[:, None, None]
        x, g, p = torch.where(b, trial, x), torch.where(b, g1, g), torch.where(b[..., 0], p1, p)
        shrink = torch.where(b, 1.0, shrink * 0.5)
    weights = best_x[..., :-1] * table.scale
    bias = best_x[..., -1].double() - weights.double() @ table.mean.double()
    full_w = torch.zeros(len(C), classes, d, device=device).index_copy_(1, present, weights)
    full_b = torch.full((len(C), classes), -torch.inf, device=device).index_copy_(1, present, bias.float())
    return Logistic(full_w.transpose(1, 2), full_b, best_f, passes)


def dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1)).double()


def lbfgs(g, S, Y, R, precondition):
    q = g.clone()
    alphas = []
    for s, y, r in zip(reversed(S), reversed(Y), reversed(R), strict=True):
        c = (r * dot(s, q)).float()[:, None, None]
        q -= c * y
        alphas.append(c)
    q = precondition(q)
    for s, y, r, c in zip(S, Y, R, reversed(alphas), strict=True):
        q += (c - (r * dot(y, q)).float()[:, None, None]) * s
    return q


def evaluate(table, labels, keep, n, theta, alpha):
    """Objective (A,) in float64, gradient (A, K, D + 1) and curvature weight (A, K) of parameters (A, K, D + 1)."""
    A, k, _ = theta.shape
    weights, bias = theta[..., :-1].flatten(0, 1), theta[..., -1].flatten()
    gradient = torch.zeros_like(theta).flatten(0, 1)
    loss = torch.zeros(A, dtype=torch.float64, device=theta.device)
    spread = torch.zeros(A, k, device=theta.device)
    at = 0
    for x in table:
        y, m = labels[at : at + len(x)], keep[at : at + len(x)]
        at += len(x)
        y = y.expand(A, 1, -1)
        log_p = torch.addmm(bias[:, None], weights, x.T).unflatten(0, (A, k)).log_softmax(1)
        loss -= log_p.gather(1, y)[:, 0].double() @ m.double()
        residual = log_p.exp_()
        spread += torch.einsum("akn,n->ak", residual - residual.square(), m)
        residual.scatter_add_(1, y, -torch.ones_like(y, dtype=torch.float32))
        residual *= m
        flat = residual.flatten(0, 1)
        gradient[:, :-1].addmm_(flat, x)
        gradient[:, -1] += flat.sum(1)
    w = theta[..., :-1]
    gradient = gradient.unflatten(0, (A, k)) / n
    gradient[..., :-1] += alpha[:, None, None].float() * w
    return loss / n + alpha / 2 * dot(w, w), gradient, spread / n


def check_labels(labels: Tensor, features: Tensor, classes: int) -> Tensor:
    """The labels as int64 beside the features, or one line on what is wrong with them."""
    if not len(features) or len(labels) != len(features):
        raise UserError(f"{len(features)} rows of features and {len(labels)} labels: there must be as many, and some.")
    low, high = int(labels.min()), int(labels.max())
    require(0 <= low and high < classes, "labels", f"{low} ... {high}", f"within 0 ... {classes - 1}")
    return labels.to(features.device, torch.int64)


def hashes(features: Tensor, seed: int) -> Tensor:
    """One integer (N,) per row, made of its bits: an order of the images that does not depend on the order of the rows."""
    generator = torch.Generator().manual_seed(seed)
    odd = torch.randint(-(2**31), 2**31, (features.shape[1],), generator=generator).bitwise_or_(1)
    odd = odd.to(features.device, torch.int32)
    return torch.cat([(x.float().view(torch.int32) * odd).sum(1) for x in features.split(chunk_rows(features))])


def training_part(features: Tensor, labels: Tensor, share: float, seed: int) -> Tensor:
    """Which rows (N,) to train on: all but ``share`` of each class; one image of a class always stays."""
    order = torch.argsort(hashes(features, seed), stable=True)
    order = order[torch.argsort(labels[order], stable=True)]  # by class, and by hash within it
    counts = torch.bincount(labels)
    position = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
    held = torch.minimum((counts * share).ceil().long(), counts - 1)
    keep = torch.empty(len(labels), dtype=torch.bool, device=labels.device)
    keep[order] = position >= held[labels[order]]
    return keep


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    strengths: Sequence[float] | Tensor = tuple(10.0**e for e in range(-6, 1)),
    held_out: float = 0.1,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> Probe:
    """Logistic regression on standardised features, its strength chosen on a held-out part of train, refit on all of train."""
    labels = check_labels(train_labels, train_features, classes)
    if not bool(torch.isfinite(test_features).all()):
        raise UserError("The test features hold NaN or infinite numbers: look at the encoder that made them.")
    C = torch.as_tensor(strengths, dtype=torch.float64, device=train_features.device).sort().values
    keep = training_part(train_features, labels, held_out, seed)
    table = Table(train_features, standardise=True)
    shape = curvature(table)
    trials = fit(table, shape, labels, classes, C, keep=keep, tolerance=1e-3)
    held = torch.cat([x.to(labels.device) for x in train_features.split(chunk_rows(train_features))])[~keep]
    validation = (trials.predict(held) == labels[~keep]).double().mean(1)
    best = int((validation >= validation.max()).nonzero()[0])
    final = fit(table, shape, labels, classes, C[best : best + 1], tolerance=tolerance)
    scores = final.scores(test_features)[0]
    return Probe(scores.argmax(1), scores, float(C[best]), validation, {"passes": float(final.iterations[0])})


def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    k: Sequence[int] = (200,),
    temperature: Sequence[float] = (0.07,),
    chunk: int = 256,
) -> dict[tuple[int, float], Tensor]:
    """Votes of the k nearest by cosine, weighted exp(s / T) (Wu et al. 2018), for every (k, T) from one search."""
    labels = check_labels(train_labels, train_features, classes)
    require(min(k) >= 1, "k", min(k), "1 or more")
    widest = min(max(k), len(labels))
    bank = F.normalize(train_features.float(), dim=1)
    found: dict[tuple[int, float], list[Tensor]] = {(a, t): [] for a in k for t in temperature}
    for x in test_features.split(chunk):
        s, i = (F.normalize(x.to(bank.device, torch.float32), dim=1) @ bank.T).topk(widest, dim=1)
        near = labels[i]
        for (a, t), answers in found.items():
            weights = ((s[:, :a] - s[:, :1]) / t).exp()
            votes = torch.zeros(len(x), classes, device=bank.device).scatter_add_(1, near[:, :a], weights)
            answers.append(votes.argmax(1))
    return {key: torch.cat(answers) for key, answers in found.items()}
