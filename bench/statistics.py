"""Intervals, tests and ranks for accuracies measured on the same images or over several seeds.

``correct`` is a vector (N,) of booleans: which test images a method got right.
"""

from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UserError, require

Vector = NDArray[np.float64]


def bootstrap_interval(
    correct: ArrayLike, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of the accuracy over images (Efron and Tibshirani 1993, An Introduction to the Bootstrap).

    How many right answers a resample of N images holds is binomial, so no image needs to be drawn.
    """
    right = answers(correct)
    check(draws, level)
    counts = np.random.default_rng(seed).binomial(len(right), right.mean(), draws)
    return between(counts / len(right), level)


def macro_bootstrap_interval(
    correct: ArrayLike, labels: ArrayLike, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """The same for the mean accuracy per class, images of all classes being resampled together.

    A resample's images of each class are multinomial, its right answers within a class binomial; a class that a
    resample missed is left out of its mean.
    """
    right, classes = answers(correct), np.asarray(labels)
    check(draws, level)
    require(len(classes) == len(right), "labels", len(classes), f"{len(right)}, one per image")
    _, where, images = np.unique(classes, return_inverse=True, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(right), images / len(right), draws)  # (draws, K)
    hits = generator.binomial(drawn, np.bincount(where, right) / images)
    means = np.divide(hits, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
    return between(np.nanmean(means, axis=1), level)


def mean_interval_over_seeds(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of a few runs and Student's t interval around it, without width for one run ("Student", Biometrika 1908)."""
    from scipy.stats import t

    runs = np.asarray(values, dtype=np.float64)
    check(1, level)
    require(runs.size >= 1, "values", runs.tolist(), "one run or more")
    mean = float(runs.mean())
    if runs.size == 1:
        return mean, mean, mean
    half = float(t.ppf((1 + level) / 2, runs.size - 1) * runs.std(ddof=1) / np.sqrt(runs.size))
    return mean, mean - half, mean + half


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Exact two-sided p that A and B are equally often right, from the images only one got right (McNemar 1947)."""
    a, b = both(a_correct, b_correct)
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    n, few = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(n, i) for i in range(few + 1))
    return min(1.0, 2 * tail / 2**n)


def paired_bootstrap(
    a_correct: ArrayLike, b_correct: ArrayLike, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Accuracy of A minus that of B on the same images, and its percentile interval (Koehn, EMNLP 2004)."""
    a, b = both(a_correct, b_correct)
    check(draws, level)
    shares = np.array([(a > b).mean(), (b > a).mean(), (a == b).mean()])
    counts = np.random.default_rng(seed).multinomial(len(a), shares, draws)
    return float((a - b).mean()), *between((counts[:, 0] - counts[:, 1]) / len(a), level)


def holm(p_values: ArrayLike) -> Vector:
    """p values adjusted for being many, in the order given (Holm 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def average_ranks(table: ArrayLike) -> Vector:
    """Mean rank (methods,) over a table (data sets, methods); 1 is the highest value, ties share (Demšar 2006)."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(table, dtype=np.float64), axis=1).mean(axis=0))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rho (Spearman 1904); NaN where one side is constant."""
    from scipy.stats import spearmanr

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    require(len(a) == len(b) >= 2, "lengths", (len(a), len(b)), "equal, and 2 or more")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def answers(correct: ArrayLike) -> Vector:
    """Right and wrong as 1 and 0."""
    right = np.asarray(correct)
    if right.ndim != 1 or not right.size or not np.isin(right, (0, 1)).all():
        raise UserError("Right answers must be a vector of true and false with one image at least.")
    return right.astype(np.float64)


def both(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[Vector, Vector]:
    """Two methods' answers to the same images."""
    a, b = answers(a_correct), answers(b_correct)
    require(len(a) == len(b), "images", (len(a), len(b)), "the same for both methods")
    return a, b


def between(samples: Vector, level: float) -> tuple[float, float]:
    """The interval that holds the middle ``level`` of the samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check(draws: int, level: float) -> None:
    """Draws and level in range."""
    require(draws >= 1, "draws", draws, "1 or more")
    require(0 < level < 1, "level", level, "between 0 and 1")
