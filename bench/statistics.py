"""Intervals, tests and ranks for accuracies measured on the same images or over several seeds.

``correct`` is a vector (N,) of booleans: which test images a method got right.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError, require

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
    from scipy.special import stdtrit  # a table's every row asks, and scipy.stats takes longer to answer

    runs = np.asarray(values, dtype=np.float64)
    check(1, level)
    require(runs.size >= 1, "values", runs.tolist(), "one run or more")
    mean = float(runs.mean())
    if runs.size == 1:
        return mean, mean, mean
    half = float(stdtrit(runs.size - 1, (1 + level) / 2) * runs.std(ddof=1) / np.sqrt(runs.size))
    return mean, mean - half, mean + half


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike, *, exact: bool = True) -> float:
    """Two-sided p that A and B are equally often right, from the images only one got right (McNemar 1947).

    ``exact`` counts those images as fair coins; otherwise their chi-squared with Edwards' continuity correction
    (Psychometrika 1948).
    """
    from scipy.special import bdtr, chdtrc

    a, b = both(a_correct, b_correct)
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    n = only_a + only_b
    if n == 0:
        return 1.0
    if exact:
        return min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5)))
    return float(chdtrc(1, max(0, abs(only_a - only_b) - 1) ** 2 / n))


def randomisation_test(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Two-sided p that it did not matter which of A and B gave which answer (Fisher 1935, The Design of Experiments).

    Answers are (N,), or (S, N) for S seeds: an image's answers of all seeds are exchanged together, so that images
    and not answers are the sample. Exact; for one seed it is `mcnemar`.
    """
    a, b = both(a_correct, b_correct)
    gaps, images = np.unique(np.abs(np.rint((a - b).sum(axis=0))), return_counts=True)
    seen, reach = int(abs(np.rint((a - b).sum()))), int(gaps @ images)
    # The total of gaps with signs of fair coins has the product of their cosines as its characteristic function.
    angles = 2 * np.pi * np.arange(reach + 1) / (2 * reach + 1)
    chances = np.fft.irfft((np.cos(np.outer(angles, gaps)) ** images).prod(axis=1), 2 * reach + 1)
    return min(1.0, max(0.0, 2 * float(chances[seen : reach + 1].sum()))) if seen else 1.0


def paired_bootstrap(
    a_correct: ArrayLike, b_correct: ArrayLike, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Accuracy of A minus that of B on the same images, and its percentile interval (Koehn, EMNLP 2004).

    Answers are (N,), or (S, N) for S seeds: accuracies are then means over seeds, and images are resampled with
    their answers of all seeds.
    """
    a, b = both(a_correct, b_correct)
    check(draws, level)
    gaps, images = np.unique((a - b).mean(axis=0), return_counts=True)
    n = a.shape[1]
    # Only how often each gap is drawn matters, and that is multinomial.
    samples = np.random.default_rng(seed).multinomial(n, images / n, draws) @ gaps / n
    return float((a - b).mean()), *between(samples, level)


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


def friedman(table: ArrayLike) -> float:
    """p that no method is better than another over a table (data sets, methods), by F of Iman and Davenport (1980).

    Friedman 1937 on ranks; Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.
    """
    from scipy.special import fdtrc
    from scipy.stats import friedmanchisquare

    values = np.asarray(table, dtype=np.float64)
    require(values.ndim == 2 and min(values.shape) >= 2, "table", values.shape, "two data sets and methods or more")
    sets, methods = values.shape
    require(methods >= 3, "methods", methods, "three or more; of two, `mcnemar` tells")
    if not (values != values[:, :1]).any():
        return 1.0
    chi = float(friedmanchisquare(*values.T).statistic)
    rest = sets * (methods - 1) - chi
    return float(fdtrc(methods - 1, (methods - 1) * (sets - 1), (sets - 1) * chi / rest)) if rest > 1e-9 else 0.0


def critical_difference(methods: int, sets: int, *, level: float = 0.95) -> float:
    """By how much `average_ranks` over so many data sets must differ (Nemenyi 1963; Demšar 2006, section 3.2.2)."""
    from scipy.stats import studentized_range

    require(methods >= 2, "methods", methods, "2 or more")
    require(sets >= 1, "sets", sets, "1 or more")
    check(1, level)
    spread = float(studentized_range.ppf(level, methods, np.inf)) / np.sqrt(2)
    return float(spread * np.sqrt(methods * (methods + 1) / (6 * sets)))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rho (Spearman 1904); NaN where one side is constant."""
    from scipy.stats import spearmanr

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    require(len(a) == len(b) >= 2, "lengths", (len(a), len(b)), "equal, and 2 or more")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def answers(correct: ArrayLike) -> Vector:
    """Right and wrong as 1 and 0, (N,)."""
    right = np.asarray(correct)
    if right.ndim != 1 or not right.size or not (right.dtype == bool or np.isin(right, (0, 1)).all()):
        raise UserError("Right answers must be a vector of true and false with one image at least.")
    return right.astype(np.float64)


def both(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[Vector, Vector]:
    """Two methods' answers to the same images, (S, N) each, S being 1 for answers (N,)."""
    a, b = (np.stack([answers(seed) for seed in np.atleast_2d(np.asarray(side))]) for side in (a_correct, b_correct))
    require(a.shape[1] == b.shape[1], "images", (a.shape[1], b.shape[1]), "the same for both methods")
    require(len(a) == len(b), "seeds", (len(a), len(b)), "the same for both methods")
    return a, b


def between(samples: Vector, level: float) -> tuple[float, float]:
    """The interval that holds the middle ``level`` of the samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check(draws: int, level: float) -> None:
    """Draws and level in range."""
    require(draws >= 1, "draws", draws, "1 or more")
    require(0 < level < 1, "level", level, "between 0 and 1")
