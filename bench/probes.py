"""The solvers behind the protocols: logistic regression, MLP, ridge, nearest neighbours, k-means.

Pure functions on tensors. They run on the device of the training features, which may be float16 or float32 and
memory-mapped: rows are read in chunks, so the memory needed beyond the features stays bounded.

N images, D features, K classes, S regularisation strengths, A strengths still running, M test images.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import UserError, require

HISTORY = 10  # pairs of steps that L-BFGS remembers
COPY_BYTES = 2**30  # prepared features up to this size are kept; larger ones are prepared again chunk by chunk
FEW = 2048  # up to so many images, if fewer than features, are described by their span alone
STRENGTHS = tuple(10.0 ** (e / 2) for e in range(-12, 1))


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


@dataclass(frozen=True)
class Probe:
    """What a probe says about the test images, and how it was chosen."""

    predictions: Tensor  # (M,)
    scores: Tensor  # (M, K) logits
    strength: float  # of the regularisation: C of linear_probe, the weight decay of mlp_probe
    validation: Tensor  # (S,) held-out accuracy of each strength, in the order given
    fit: dict[str, float]


def logistic_regression(
    features: Tensor,
    labels: Tensor,
    classes: int,
    strengths: Sequence[float] | Tensor,
    *,
    tolerance: float = 3e-6,
    max_iterations: int = 1000,
    precision: str = "auto",
) -> Logistic:
    """Minimises  mean cross-entropy + ||W||^2 / (2 C N)  over W and an unpenalised bias, for every strength C at once.

    That is scikit-learn's objective divided by C N, so the optimum is that of LogisticRegression(C=C); its two-class
    form keeps one weight vector for two, which amounts to twice the penalty, and so it is here. A strength is done when
    the step ahead promises less than ``tolerance`` of its objective. ``precision``: "auto", "bf16" or "fp32".
    """
    labels = check(features, labels, classes)
    problem = Regression(Table(features, standardise=False), labels, classes)
    return problem.solve(strengths, problem.start(strengths), tolerance, max_iterations, precision)[0]


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    strengths: Sequence[float] | Tensor = STRENGTHS,
    held_out: float = 0.1,
    seed: int = 0,
    tolerance: float = 3e-6,
    precision: str = "auto",
) -> Probe:
    """Logistic regression on standardised features: strength chosen on a held-out part of train, refit on all of train.

    Of strengths that tie, the strongest regularisation wins. The choice is made at a loose tolerance, then the refit is
    precise.
    """
    labels = check(train_features, train_labels, classes)
    check(test_features)
    C = torch.as_tensor(strengths, dtype=torch.float64)
    keep = training_part(train_features, labels, held_out, seed)
    problem = Regression(Table(train_features, standardise=True), labels, classes)
    trials, parameters = problem.solve(C, problem.start(C), max(tolerance, 1e-3), 100, precision, keep)
    validation = held_out_accuracy(trials, train_features, labels, keep).to(C.device)
    best = int(C.masked_fill(validation < validation.max(), torch.inf).argmin())
    final, _ = problem.solve(C[best : best + 1], parameters[best : best + 1], tolerance, 1000, precision)
    scores = final.scores(test_features)[0]
    fit = {"objective": float(final.objective[0]), "passes": float(trials.iterations.max() + final.iterations[0])}
    return Probe(scores.argmax(1), scores, float(C[best]), validation, fit)


class Table:
    """Rows of features, centred and if asked scaled, in float32 chunks; iterate over it as often as needed."""

    def __init__(self, features: Tensor, *, standardise: bool) -> None:
        self.features, self.chunk = features, chunk_rows(features)
        count, mean, square = 0, torch.zeros((), device=features.device), torch.zeros((), device=features.device)
        for x in features.split(self.chunk):  # Chan et al. 1979: variances of parts into the variance of the whole
            variance, centre = torch.var_mean(x.float(), dim=0, correction=0)
            delta, share = centre.double() - mean, len(x) / (count + len(x))
            square = square + variance.double() * len(x) + delta.square() * (count * share)
            mean, count = mean + delta * share, count + len(x)
        std = (square / count).sqrt()
        varies = std > 1e-6 * mean.abs() + 1e-30
        self.mean = mean.float()
        self.scale = torch.where(varies, 1 / std, 0).float() if standardise else torch.ones_like(self.mean)
        self.kept: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        if self.features.numel() * 4 > COPY_BYTES:
            return (self.prepare(x) for x in self.features.split(self.chunk))
        self.kept = self.kept or [self.prepare(x) for x in self.features.split(self.chunk)]
        return iter(self.kept)

    def prepare(self, rows: Tensor) -> Tensor:
        """Rows (n, D) of these or other features, centred and scaled like the table's."""
        return (rows.to(self.mean.device, torch.float32) - self.mean).mul_(self.scale)


@dataclass(frozen=True)
class Curvature:
    """Eigenvectors of the features' covariance, all or the largest."""

    vectors: Tensor | None  # (D, R); None where the features are coordinates along them already
    values: Tensor  # (R,)
    rest: Tensor  # mean eigenvalue of the other D - R directions

    @classmethod
    def of(cls, table: Table, *, full: int = 2560, rank: int = 512) -> "Curvature":
        """Exact up to ``full`` features; beyond, Nyström's approximation.

        Frangella, Tropp and Udell, "Randomized Nyström preconditioning", 2021, algorithm 2.1. https://arxiv.org/abs/2110.02820
        """
        (n, d), device = table.features.shape, table.features.device
        if d <= full:
            values, vectors = torch.linalg.eigh(covariance(table) / n)
            return cls(vectors, values.clamp_min(0), torch.ones((), device=device))
        rank = min(rank, n, d)
        normal = torch.randn(d, rank, generator=torch.Generator().manual_seed(0)).to(device)
        probes = torch.linalg.qr(normal)[0]
        sketch, trace = torch.zeros(d, rank, device=device), torch.zeros((), device=device)
        for x in table:
            sketch.addmm_(x.T, x @ probes)
            trace += x.square().sum()
        sketch, trace = sketch / n, trace / n
        shift = 1e-5 * torch.linalg.matrix_norm(sketch) + 1e-30
        sketch += shift * probes
        factor = torch.linalg.cholesky(probes.T @ sketch)
        root = torch.linalg.solve_triangular(factor, sketch.T, upper=False)  # (R, D), covariance ~ root' root
        values, rotation = torch.linalg.eigh(root @ root.T)
        vectors = (root.T @ rotation) / values.clamp_min(1e-30).sqrt()
        values = (values - shift).clamp_min(0)
        return cls(vectors, values, (trace - values.sum()).clamp_min(0) / max(1, d - rank) + shift)

    def solve(self, gradient: Tensor, weight: Tensor, penalty: Tensor) -> Tensor:
        """(weight * covariance + penalty)^-1 gradient; gradient (A, K, D), weight (A, K, 1), penalty (A, 1, 1)."""
        if self.vectors is None:
            return gradient / (weight * self.values + penalty)
        tail = 1 / (weight * self.rest + penalty)
        inside = 1 / (weight * self.values + penalty) - tail
        return gradient * tail + ((gradient @ self.vectors) * inside) @ self.vectors.T


def covariance(table: Table) -> Tensor:
    """Sum over rows of x x' (D, D), by its upper blocks."""
    d = table.features.shape[1]
    total, block = torch.zeros(d, d, device=table.features.device), max(256, -(-d // 8))
    for x in table:
        for i in range(0, d, block):
            total[i : i + block, i:].addmm_(x[:, i : i + block].T, x[:, i:])
    return total.triu() + total.triu(1).T


def row_space(table: Table) -> tuple[Tensor, Tensor, Curvature]:
    """Coordinates (N, R) of the rows along the eigenvectors of their covariance, and those (D, R).

    The penalty keeps the weights within the span of the rows, so nothing is lost where images are fewer than features.
    """
    Z = torch.cat(list(table)).double()
    values, U = torch.linalg.eigh(Z @ Z.T)
    spanned = values > 1e-10 * values[-1].clamp_min(1e-30)
    U, root = U[:, spanned], values[spanned].sqrt()
    curvature = Curvature(None, (root.square() / len(Z)).float(), torch.zeros((), device=Z.device))
    return (U * root).float(), (Z.T @ U / root).float(), curvature


class Regression:
    """Logistic regression on a table, for any strengths and any part of its rows."""

    def __init__(self, table: Table, labels: Tensor, classes: int) -> None:
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
            self.curvature = Curvature.of(table)

    def start(self, strengths: Sequence[float] | Tensor) -> Tensor:
        """Parameters (S, K, D + 1), the bias last: nothing known but how frequent the classes are."""
        d = self.table.features.shape[1] if self.lift is None else self.lift.shape[1]
        start = torch.zeros(len(strengths), len(self.priors), d + 1, device=self.priors.device)
        start[..., -1] = self.priors.log()
        return start

    def solve(
        self,
        strengths: Sequence[float] | Tensor,
        start: Tensor,
        tolerance: float,
        max_iterations: int,
        precision: str = "auto",
        keep: Tensor | None = None,
    ) -> tuple[Logistic, Tensor]:
        """The regressions on the rows to ``keep`` (N,), and their parameters in the table's coordinates."""
        C = torch.as_tensor(strengths, dtype=torch.float64, device=start.device)
        require(bool((C > 0).all()) and len(C) > 0, "strengths", C.tolist(), "one or more positive numbers")
        rows = float(len(self.labels) if keep is None else keep.sum())
        penalty = (2 if len(self.priors) == 2 else 1) / (C * rows)
        size = start[0].numel() * 4 * (2 * HISTORY + 8)
        group = max(1, min(2**31 // size, 4096 // len(self.priors)))  # bounds the memory of steps and of logits
        stages = [(torch.bfloat16, 1e-2)] if low_precision(precision, start.device) else []
        parts = []
        for p, x in zip(penalty.split(group), start.split(group), strict=True):
            passes = torch.zeros_like(p)
            for dtype, loose in [*stages, (torch.float32, 0.0)]:
                x, objective, count = self.minimise(x, p, keep, dtype, max(loose, tolerance), max_iterations)
                passes += count
            parts.append((x, objective, passes.long()))
        x, objective, passes = (torch.cat(column) for column in zip(*parts, strict=True))
        return self.unfolded(x, objective, passes), x

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
            going = (promise / 2 > tolerance * f) & (shrink > 1e-3)
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


def mlp_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    strengths: Sequence[float] = (1e-2,),
    held_out: float = 0.1,
    seed: int = 0,
    hidden: int = 200,
    epochs: int = 20,
    batch: int = 256,
    lr: float = 2e-3,
) -> Probe:
    """Gidaris et al. 2018's non-linear classifier: two hidden layers with batch norm and ReLU, AdamW, a fixed budget.

    The strength is the weight decay; of several, one is chosen on a held-out part of train, and the classifier is then
    trained anew on all of train.
    """
    labels = check(train_features, train_labels, classes)
    check(test_features)
    require(min(epochs, batch, hidden) >= 1, "epochs, batch, hidden", (epochs, batch, hidden), "1 or more each")
    if int(labels.min()) == int(labels.max()):
        raise UserError("All training images have the same label: a classifier needs two classes at least.")
    table = Table(train_features, standardise=True)
    order = torch.argsort(hashes(train_features, seed), stable=True)

    def trained(rows: Tensor, decay: float) -> nn.Module:
        """A classifier trained on these rows (n,)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Linear(table.features.shape[1], hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
            layers += [nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes)]
            head = nn.Sequential(*layers).to(labels.device)
        optimiser = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=decay)
        batches = -(-len(rows) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * batches)
        for _ in range(epochs):
            shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            for indices in shuffled.tensor_split(batches):
                loss = F.cross_entropy(head(table.prepare(table.features[indices])), labels[indices])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return head.eval()

    @torch.no_grad()
    def scores_of(head: nn.Module, features: Tensor) -> Tensor:
        return torch.cat([head(table.prepare(x)) for x in features.split(table.chunk)])

    decays = torch.as_tensor(strengths, dtype=torch.float64)
    validation, best = torch.full((len(decays),), torch.nan, dtype=torch.float64), 0
    if len(decays) > 1:
        keep = training_part(train_features, labels, held_out, seed)
        rows, rest = order[keep[order]], order[~keep[order]]
        for i, decay in enumerate(decays.tolist()):
            right = scores_of(trained(rows, decay), train_features[rest]).argmax(1) == labels[rest]
            validation[i] = right.double().sum() / max(1, len(rest))
        best = int(decays.masked_fill(validation < validation.max(), -torch.inf).argmax())
    scores = scores_of(trained(order, float(decays[best])), test_features)
    return Probe(scores.argmax(1), scores, float(decays[best]), validation, {"epochs": float(epochs)})


@torch.no_grad()
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
    """Votes of the k nearest by cosine, weighted exp(s / T), for every (k, T) from one search: predictions (M,) each.

    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4.
    """
    labels = check(train_features, train_labels, classes)
    check(test_features)
    require(min(k) >= 1, "k", min(k), "1 or more")
    require(min(temperature) > 0, "temperature", min(temperature), "above 0")
    found: dict[tuple[int, float], list[Tensor]] = {(a, t): [] for a in k for t in temperature}
    for s, neighbours in nearest(train_features, test_features, min(max(k), len(labels)), chunk):
        voters = labels[neighbours]
        for (a, t), answers in found.items():
            weights = ((s[:, :a] - s[:, :1]) / t).exp()  # the nearest weighs 1, so nothing overflows
            votes = weights.new_zeros(len(s), classes).scatter_add_(1, voters[:, :a], weights)
            answers.append(votes.argmax(1))
    return {key: torch.cat(answers) for key, answers in found.items()}


def nearest(bank: Tensor, queries: Tensor, k: int, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Cosines and indices (chunk, k) of the k most similar rows of the bank, for each chunk of queries."""
    tile = 2**16  # rows of the bank compared at once
    kept = None
    if bank.numel() * 4 <= COPY_BYTES:
        kept = F.normalize(bank.float(), dim=1)
    for q in queries.split(chunk):
        q = F.normalize(q.to(bank.device, torch.float32), dim=1)
        values, indices = [], []
        for at in range(0, len(bank), tile):
            rows = F.normalize(bank[at : at + tile].float(), dim=1) if kept is None else kept[at : at + tile]
            s, i = (q @ rows.T).topk(min(k, len(rows)), dim=1)
            values.append(s)
            indices.append(i + at)
        if len(values) == 1:
            yield values[0], indices[0]
        else:
            s, i = torch.cat(values, dim=1).topk(k, dim=1)
            yield s, torch.cat(indices, dim=1).gather(1, i)


def ridge(features: Tensor, targets: Tensor, penalties: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
    """Minimises ||X W + b - Y||^2 + penalty ||W||^2: weights (S, D, T) and bias (S, T) for targets (N, T).

    One eigendecomposition, of the smaller of the two Gram matrices, serves all penalties.
    """
    check(features)
    require(len(features) == len(targets), "targets", tuple(targets.shape), f"{len(features)} rows, one per image")
    require(all(float(p) > 0 for p in penalties), "penalties", list(penalties), "positive numbers")
    X, Y = features.double(), targets.to(features.device, torch.float64)
    mean, middle = X.mean(0), Y.mean(0)
    X, Y = X - mean, Y - middle
    wide = X.shape[1] > X.shape[0]
    values, Q = torch.linalg.eigh(X @ X.T if wide else X.T @ X)
    inside = Q.T @ (Y if wide else X.T @ Y)
    shrunk = [Q @ (inside / (values.clamp_min(0) + float(p))[:, None]) for p in penalties]
    weights = torch.stack([X.T @ w if wide else w for w in shrunk])
    return weights.float(), (middle - mean @ weights).float()


@dataclass(frozen=True)
class Clusters:
    """What k-means found."""

    assignments: Tensor  # (N,)
    centres: Tensor  # (k, D)
    inertia: float  # sum of squared distances to the nearest centre


def k_means(features: Tensor, k: int, *, seed: int = 0, iterations: int = 100, restarts: int = 3) -> Clusters:
    """The best of some restarts of Lloyd's iterations from k-means++ (Arthur and Vassilvitskii, SODA 2007).

    A cluster left without images restarts at the image farthest from its centre.
    """
    check(features)
    require(1 <= k <= len(features), "k", k, f"within 1 ... {len(features)}, the number of images")
    require(min(iterations, restarts) >= 1, "iterations, restarts", (iterations, restarts), "1 or more each")
    generator = torch.Generator().manual_seed(seed)
    runs = [lloyd(features, spread_out(features, k, generator), iterations) for _ in range(restarts)]
    return min(runs, key=lambda run: run.inertia)


def lloyd(features: Tensor, centres: Tensor, iterations: int) -> Clusters:
    """Assigns and averages by turns until no image moves."""
    k, before = len(centres), None
    for _ in range(iterations):
        assignments, distances = assigned(features, centres)
        if before is not None and torch.equal(assignments, before):
            break
        before = assignments
        counts = torch.bincount(assignments, minlength=k)
        sums = torch.zeros_like(centres, dtype=torch.float64)
        at = 0
        for x in features.split(chunk_rows(features)):
            sums.index_add_(0, assignments[at : at + len(x)], x.double())
            at += len(x)
        empty = counts == 0
        centres = (sums / counts.clamp_min(1)[:, None]).float()
        centres[empty] = features[distances.topk(int(empty.sum())).indices].float()
    assignments, distances = assigned(features, centres)
    return Clusters(assignments, centres, float(distances.double().sum()))


def assigned(features: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each image (N,) and the squared distance to it (N,)."""
    nearest_of, distance = [], []
    for x in features.split(chunk_rows(features)):
        i = (centres.square().sum(1) - 2 * (x.float() @ centres.T)).argmin(1)
        nearest_of.append(i)
        distance.append((x.float() - centres[i]).square().sum(1))
    return torch.cat(nearest_of), torch.cat(distance)


def spread_out(features: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k images as first centres, each drawn with a chance that grows with its squared distance to those before."""
    closest = torch.ones(len(features), dtype=torch.float64, device=features.device)
    centres: list[Tensor] = []
    for _ in range(k):
        levels = closest.cumsum(0)
        draw = torch.rand((), dtype=torch.float64, generator=generator).to(levels.device) * levels[-1]
        chosen = torch.searchsorted(levels, draw, right=True).clamp_max(len(features) - 1)
        centres.append(features[chosen].float())
        distances = [(x.float() - centres[-1]).square().sum(1) for x in features.split(chunk_rows(features))]
        closest = torch.cat(distances).double() if len(centres) == 1 else closest.minimum(torch.cat(distances).double())
    return torch.stack(centres)


def check(features: Tensor, labels: Tensor | None = None, classes: int = 0) -> Tensor:
    """The labels as int64 beside the features (N, D), or one line on what is wrong with either."""
    if features.ndim != 2 or not features.numel():
        raise UserError(f"Features of shape {tuple(features.shape)}: there must be images (N) with features (D).")
    if not all(bool(torch.isfinite(x.sum(dtype=torch.float64))) for x in features.split(chunk_rows(features))):
        raise UserError("The features hold NaN or infinite numbers: look at the encoder that made them.")
    if labels is None:
        return torch.empty(0, dtype=torch.int64)
    require(len(labels) == len(features), "labels", len(labels), f"{len(features)}, one per image")
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0 and high < classes, "labels", f"{low} ... {high}", f"within 0 ... {classes - 1}")
    return labels.to(features.device, torch.int64)


def chunk_rows(features: Tensor) -> int:
    """How many rows to read at once: what a processor's cache, or a small part of a GPU's memory, holds."""
    return max(64, (2**26 if features.is_cuda else 2**22) // max(1, features.shape[1]))


def training_part(features: Tensor, labels: Tensor, held_out: float, seed: int) -> Tensor:
    """Which rows (N,) to train on: all but a share of each class; one image of a class always stays."""
    require(0 < held_out < 1, "held_out", held_out, "between 0 and 1")
    order = torch.argsort(hashes(features, seed), stable=True)
    order = order[torch.argsort(labels[order], stable=True)]  # by class, and by hash within it
    counts = torch.bincount(labels)
    position = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
    held = torch.minimum((counts * held_out).ceil().long(), counts - 1)
    keep = torch.empty(len(labels), dtype=torch.bool, device=labels.device)
    keep[order] = position >= held[labels[order]]
    return keep


def hashes(features: Tensor, seed: int) -> Tensor:
    """One integer (N,) from the bits of each row: an order of the images in which that of the rows has no part."""
    odd = torch.randint(-(2**30), 2**30, (features.shape[1],), generator=torch.Generator().manual_seed(seed)) * 2 + 1
    odd = odd.to(features.device, torch.int32)
    chunks = features.split(chunk_rows(features))
    return torch.cat([(x.float().view(torch.int32) * odd).sum(1, dtype=torch.int64) for x in chunks])


def held_out_accuracy(trials: Logistic, features: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Accuracy (S,) on the rows not kept; 0 where there are none."""
    right = torch.zeros(len(trials.weights), dtype=torch.float64, device=labels.device)
    at = 0
    for x in features.split(chunk_rows(features)):
        span = slice(at, at := at + len(x))
        out = ~keep[span]
        right += (trials.predict(x[out]) == labels[span][out]).sum(1)
    return right / max(1, int((~keep).sum()))


def low_precision(precision: str, device: torch.device) -> bool:
    """Whether the bulk of the work is done in bf16: where it was asked for, or where the device computes in it."""
    require(precision in ("auto", "bf16", "fp32"), "precision", precision, "auto, bf16 or fp32")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (A,) of A pairs, in float64."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1)).double()
