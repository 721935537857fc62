"""Intervals, tests and ranks for accuracies that were measured on the same images or over several seeds.

``correct`` is a vector (N,) of booleans: which test images a method got right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError, require

Vector = NDArray[np.float64]


def wilson_interval(right: ArrayLike, total: ArrayLike, *, level: float = 0.95) -> tuple[Vector, Vector]:
    """Wilson's score interval of a proportion: lower and upper ends, in the shape of ``right`` and ``total``.

    Unlike the bootstrap's it has a width if all answers are right (Wilson 1927; Brown, Cai and DasGupta 2001,
    "Interval Estimation for a Binomial Proportion"). The proportion is always within it.
    """
    from scipy.special import ndtri

    k, n = np.asarray(right, dtype=np.float64), np.asarray(total, dtype=np.float64)
    check_draws_and_level(1, level)
    require(bool((n >= 1).all()), "total", n.tolist(), "1 or more images")
    require(bool(((k >= 0) & (k <= n)).all()), "right", k.tolist(), "from 0 to the number of images")
    z = float(ndtri((1 + level) / 2))
    centre = (k + z**2 / 2) / (n + z**2)
    half_width = z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    # At the edges rounding would leave out the proportion itself.
    return np.where(k == 0, 0.0, centre - half_width), np.where(k == n, 1.0, centre + half_width)


def accuracy_interval(correct: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of the accuracy over images."""
    right = as_answers(correct)
    low, high = wilson_interval(right.sum(), len(right), level=level)
    return float(low), float(high)


def macro_accuracy_interval(correct: ArrayLike, labels: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean accuracy per class, combined from Wilson's interval of each class.

    The distances of the classes' ends from their accuracies add up in squares, as variances do, so that classes with
    only right answers count with the width that their few images leave (Zou and Donner, Statistics in Medicine 2008).
    """
    right, classes = as_answers(correct), np.asarray(labels)
    require(len(classes) == len(right), "labels", len(classes), f"{len(right)}, one per image")
    _, class_of_image, images = np.unique(classes, return_inverse=True, return_counts=True)
    hits = np.bincount(class_of_image, right)
    low, high = wilson_interval(hits, images, level=level)
    accuracies = hits / images
    mean = accuracies.mean()
    below, above = (float(np.sqrt(np.square(end - accuracies).sum())) / len(images) for end in (low, high))
    return float(mean - below), float(mean + above)


def mean_interval_over_seeds(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean, lower and upper end of Student's t interval over a few runs ("Student", Biometrika 1908).

    The interval of one run has no width.
    """
    from scipy.special import stdtrit  # importing scipy.stats takes longer, and every row of a table needs this

    runs = np.asarray(values, dtype=np.float64)
    check_draws_and_level(1, level)
    require(runs.size >= 1, "values", runs.tolist(), "one run or more")
    mean = float(runs.mean())
    if runs.size == 1:
        return mean, mean, mean
    half_width = float(stdtrit(runs.size - 1, (1 + level) / 2) * runs.std(ddof=1) / np.sqrt(runs.size))
    return mean, mean - half_width, mean + half_width


def bootstrap_interval(
    compute: Callable[[Vector], ArrayLike], images: int, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of a number over images that are drawn again with replacement (Efron 1979).

    ``compute`` maps how often each image was drawn, (draws, images), to the number of each draw (draws,).
    """
    check_draws_and_level(draws, level)
    counts = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), draws)
    return percentile_interval(np.asarray(compute(counts.astype(np.float64))), level)


def bootstrap_mean_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """`bootstrap_interval` of the mean of one value per image (images,)."""
    of_images = np.asarray(values, dtype=np.float64)
    return bootstrap_interval(lambda draws: draws @ of_images / len(of_images), len(of_images), level=level)


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike, *, exact: bool = True) -> float:
    """Two-sided p of A and B being right equally often, from the images that only one got right (McNemar 1947).

    ``exact`` treats those images as fair coins; otherwise the p is that of chi-squared with Edwards' continuity
    correction (Psychometrika 1948).
    """
    from scipy.special import bdtr, chdtrc

    a, b = paired_answers(a_correct, b_correct)
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    n = only_a + only_b
    if n == 0:
        return 1.0
    if exact:
        return min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5)))
    return float(chdtrc(1, max(0, abs(only_a - only_b) - 1) ** 2 / n))


def randomisation_test(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Two-sided p of A and B being interchangeable (Fisher 1935, The Design of Experiments); exact.

    Answers are (N,), or (S, N) for S seeds. The answers of all seeds to one image are exchanged together, so that
    images are the sample and not answers. For one seed this is `mcnemar`.
    """
    a, b = paired_answers(a_correct, b_correct)
    gaps, images = np.unique(np.abs(np.rint((a - b).sum(axis=0))), return_counts=True)
    observed, largest = int(abs(np.rint((a - b).sum()))), int(gaps @ images)
    # The sum of gaps with random signs has the product of their cosines as its characteristic function.
    angles = 2 * np.pi * np.arange(largest + 1) / (2 * largest + 1)
    chances = np.fft.irfft((np.cos(np.outer(angles, gaps)) ** images).prod(axis=1), 2 * largest + 1)
    return min(1.0, max(0.0, 2 * float(chances[observed : largest + 1].sum()))) if observed else 1.0


def paired_bootstrap(
    a_correct: ArrayLike, b_correct: ArrayLike, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Accuracy of A minus that of B on the same images, and its percentile interval (Koehn, EMNLP 2004).

    Answers are (N,), or (S, N) for S seeds: accuracies are then means over seeds, and each image is resampled with
    its answers of all seeds. Where all images have the same difference, resampling would give an interval without
    width: it is that of `equal_gaps_interval` then.
    """
    a, b = paired_answers(a_correct, b_correct)
    check_draws_and_level(draws, level)
    gaps, images = np.unique((a - b).mean(axis=0), return_counts=True)
    n = a.shape[1]
    if len(gaps) == 1:
        return float(gaps[0]), *equal_gaps_interval(float(gaps[0]), n, level)
    # Only the number of times that each gap is drawn matters, and these numbers are multinomial.
    samples = np.random.default_rng(seed).multinomial(n, images / n, draws) @ gaps / n
    return float((a - b).mean()), *percentile_interval(samples, level)


def equal_gaps_interval(gap: float, images: int, level: float) -> tuple[float, float]:
    """The interval of the difference of two accuracies that differ by the same ``gap`` on every image.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine
    2005: half an image is added to each cell of the table of both answers. The gap is always within it.
    """
    from scipy.special import ndtri

    n = images + 2
    centre = gap * images / n
    variance = (abs(gap) * images + 1 - (gap * images) ** 2 / n) / n**2
    half_width = float(ndtri((1 + level) / 2)) * variance**0.5
    return max(-1.0, min(gap, centre - half_width)), min(1.0, max(gap, centre + half_width))


def holm(p_values: ArrayLike) -> Vector:
    """p values that are adjusted for the number of tests, in the order given (Holm 1979)."""
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
    """p of no method being better than another over a table (data sets, methods), by F of Iman and Davenport (1980).

    Friedman 1937 on ranks; Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.
    """
    from scipy.special import fdtrc
    from scipy.stats import friedmanchisquare

    values = np.asarray(table, dtype=np.float64)
    require(values.ndim == 2 and min(values.shape) >= 2, "table", values.shape, "two data sets and methods or more")
    sets, methods = values.shape
    require(methods >= 3, "methods", methods, "three or more; `mcnemar` compares two")
    if not (values != values[:, :1]).any():
        return 1.0
    chi = float(friedmanchisquare(*values.T).statistic)
    rest = sets * (methods - 1) - chi
    return float(fdtrc(methods - 1, (methods - 1) * (sets - 1), (sets - 1) * chi / rest)) if rest > 1e-9 else 0.0


def critical_difference(methods: int, sets: int, *, level: float = 0.95) -> float:
    """The difference that two `average_ranks` over ``sets`` data sets must exceed to be significant.

    Nemenyi 1963; Demšar 2006, section 3.2.2.
    """
    from scipy.stats import studentized_range

    require(methods >= 2, "methods", methods, "2 or more")
    require(sets >= 1, "sets", sets, "1 or more")
    check_draws_and_level(1, level)
    q = float(studentized_range.ppf(level, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * sets)))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rho (Spearman 1904); NaN if one side is constant."""
    from scipy.stats import spearmanr

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    require(len(a) == len(b) >= 2, "lengths", (len(a), len(b)), "equal, and 2 or more")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def as_answers(correct: ArrayLike) -> Vector:
    """Right and wrong as 1 and 0, (N,)."""
    right = np.asarray(correct)
    if right.ndim != 1 or not right.size or not (right.dtype == bool or np.isin(right, (0, 1)).all()):
        raise UserError("Right answers must be a vector of true and false with at least one image.")
    return right.astype(np.float64)


def paired_answers(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[Vector, Vector]:
    """Two methods' answers to the same images, (S, N) each; S is 1 for answers (N,)."""
    a, b = (np.stack([as_answers(seed) for seed in np.atleast_2d(np.asarray(side))]) for side in (a_correct, b_correct))
    require(a.shape[1] == b.shape[1], "images", (a.shape[1], b.shape[1]), "the same for both methods")
    require(len(a) == len(b), "seeds", (len(a), len(b)), "the same for both methods")
    return a, b


def percentile_interval(samples: Vector, level: float) -> tuple[float, float]:
    """The interval that contains the middle ``level`` of the samples."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_draws_and_level(draws: int, level: float) -> None:
    """Raises UserError if one of them is out of range."""
    require(draws >= 1, "draws", draws, "1 or more")
    require(0 < level < 1, "level", level, "between 0 and 1")
