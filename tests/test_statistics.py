"""The statistics agree with scipy, with brute force and with hand-worked cases."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sslbench.bench import statistics
from sslbench.bench.errors import UserError

HALF = np.arange(400) % 2 == 0


@pytest.mark.parametrize(("right", "total"), [(0, 1), (45, 45), (3, 10), (49, 50), (999, 1000)])
def test_wilson_is_scipys(right, total):
    """Equal to scipy's Wilson interval without continuity correction, at the edges too; the proportion is within."""
    expected = stats.binomtest(right, total).proportion_ci(method="wilson")
    low, high = statistics.wilson_interval(right, total)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert low <= right / total <= high


def test_all_right_has_a_width():
    """45 of 45 right is an accuracy of 100 %, but not of 100 % plus or minus nothing."""
    low, high = statistics.accuracy_interval(np.ones(45, bool))
    assert (low, high) == pytest.approx((0.9213, 1), abs=1e-4)
    low, high = statistics.macro_accuracy_interval(np.ones(45, bool), np.arange(45) % 3)
    assert 0.8 < low < 0.93
    assert high == 1


@pytest.mark.parametrize("total", [10, 45, 50, 200])
def test_wilsons_coverage(total):
    """Over all numbers of right answers the 95 % interval holds the truth in about 95 % of samples, and never rarely.

    The percentile bootstrap has a coverage of 0.39 for 50 images and a true accuracy of 0.99.
    """
    right, truths = np.arange(total + 1), np.linspace(0.01, 0.99, 99)
    low, high = statistics.wilson_interval(right, np.full(total + 1, total))
    inside = (low <= truths[:, None]) & (truths[:, None] <= high)
    coverage = (stats.binom.pmf(right, total, truths[:, None]) * inside).sum(axis=1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() > 0.83
    assert coverage[-1] > 0.9


def test_macro_interval_of_one_class_is_wilsons():
    """With one class there is nothing to combine; with equal classes the interval is nearly that of all images."""
    assert statistics.macro_accuracy_interval(HALF, np.zeros(400)) == pytest.approx(statistics.accuracy_interval(HALF))
    found = statistics.macro_accuracy_interval(HALF, np.arange(400) // 2 % 2)
    assert found == pytest.approx(statistics.accuracy_interval(HALF), abs=1e-3)


def test_macro_interval_agrees_with_resampling_images():
    """Away from the edges it is the interval of the mean per class that drawing images with replacement gives."""
    labels = np.repeat([0, 1, 2], [200, 60, 40])
    correct = np.random.default_rng(0).random(300) < np.array([0.9, 0.5, 0.2])[labels]
    draws = np.random.default_rng(1).integers(0, 300, (4000, 300))
    means = [(correct[draws] & (labels[draws] == c)).sum(1) / (labels[draws] == c).sum(1) for c in range(3)]
    expected = np.quantile(np.mean(means, axis=0), [0.025, 0.975])
    assert statistics.macro_accuracy_interval(correct, labels) == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize(("classes", "images", "accuracy"), [(3, 15, 0.99), (10, 5, 0.99), (10, 100, 0.7)])
def test_macro_intervals_coverage(classes, images, accuracy):
    """At the edge too the truth is within in nine of ten samples, where resampling images has it in four of ten."""
    generator, labels = np.random.default_rng(0), np.repeat(np.arange(classes), images)
    hits = 0
    for _ in range(300):
        low, high = statistics.macro_accuracy_interval(generator.random(len(labels)) < accuracy, labels)
        hits += low <= accuracy <= high
    assert hits >= 260


def test_a_wider_level_gives_a_wider_interval():
    """The level does what its name says."""
    narrow = statistics.accuracy_interval(HALF, level=0.5)
    wide = statistics.accuracy_interval(HALF, level=0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_interval_over_seeds_is_students_t():
    """Mean and interval over seeds equal scipy's; one run has no width."""
    runs = [0.61, 0.64, 0.60, 0.66]
    expected = stats.t.interval(0.95, 3, np.mean(runs), stats.sem(runs))
    assert statistics.mean_interval_over_seeds(runs) == pytest.approx((np.mean(runs), *expected))
    assert statistics.mean_interval_over_seeds([0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (7, 2), (30, 45), (600, 700)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    """Only the images that one of them got right matter, and they are treated as fair coins."""
    a = np.array([1] * only_a + [0] * only_b + [1] * 20)
    b = np.array([0] * only_a + [1] * only_b + [1] * 20)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1
    assert statistics.mcnemar(a, b) == pytest.approx(expected)
    assert statistics.mcnemar(b, a) == statistics.mcnemar(a, b)


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 0), (25, 5), (30, 45), (600, 700)])
def test_mcnemar_with_correction_is_edwards(only_a, only_b):
    """(|b - c| - 1)^2 / (b + c) is chi-squared with one degree of freedom, and nearly exact for many images."""
    a = np.array([1] * only_a + [0] * only_b + [1] * 20)
    b = np.array([0] * only_a + [1] * only_b + [1] * 20)
    found = statistics.mcnemar(a, b, exact=False)
    assert found == pytest.approx(stats.chi2.sf((abs(only_a - only_b) - 1) ** 2 / (only_a + only_b), 1))
    if only_a > 100:
        assert found == pytest.approx(statistics.mcnemar(a, b), rel=0.02)
    assert statistics.mcnemar(a, a, exact=False) == 1


def test_randomisation_is_mcnemar_for_one_seed():
    """Both tests give the same p."""
    generator = np.random.default_rng(0)
    a = generator.random(300) < 0.7
    b = np.where(generator.random(300) < 0.8, a, generator.random(300) < 0.55)
    assert statistics.randomisation_test(a, b) == pytest.approx(statistics.mcnemar(a, b), rel=1e-9)
    assert statistics.randomisation_test(a, a) == 1


def test_randomisation_counts_every_exchange():
    """p is the share of all 2^12 exchanges of twelve images with a difference that is at least as large."""
    generator = np.random.default_rng(3)
    a, b = (generator.random((2, 12)) < share for share in (0.8, 0.4))
    gaps = (a * 1 - b).sum(0)
    exchanges = [abs(np.dot(signs, gaps)) >= abs(gaps.sum()) for signs in itertools.product((-1, 1), repeat=12)]
    assert statistics.randomisation_test(a, b) == pytest.approx(np.mean(exchanges))


def test_images_and_not_seeds_are_the_sample():
    """Three copies of the same answers do not change p, and three seeds agree with scipy's permutation test."""
    generator = np.random.default_rng(0)
    a = generator.random((3, 200)) < 0.7
    b = generator.random((3, 200)) < 0.62
    copies = [np.repeat(side[:1], 3, axis=0) for side in (a, b)]
    assert statistics.randomisation_test(*copies) == pytest.approx(statistics.randomisation_test(a[0], b[0]))
    assert statistics.paired_bootstrap(*copies) == pytest.approx(statistics.paired_bootstrap(a[0], b[0]))
    gaps = (a * 1.0 - b).mean(0)
    expected = stats.permutation_test(
        (gaps,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert statistics.randomisation_test(a, b) == pytest.approx(expected.pvalue, abs=6e-3)
    draws = np.random.default_rng(1).integers(0, 200, (20_000, 200))
    difference, *interval = statistics.paired_bootstrap(a, b, draws=20_000)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert interval == pytest.approx(np.quantile(gaps[draws].mean(1), [0.025, 0.975]), abs=5e-3)


def test_paired_bootstrap_agrees_with_resampling_images():
    """The difference is that of the accuracies, and the interval is that of resampling images."""
    generator = np.random.default_rng(0)
    a = generator.random(400) < 0.7
    b = np.where(generator.random(400) < 0.9, a, ~a)
    draws = np.random.default_rng(1).integers(0, 400, (4000, 400))
    expected = np.quantile((a[draws] * 1.0 - b[draws]).mean(1), [0.025, 0.975])
    difference, *interval = statistics.paired_bootstrap(a, b, draws=20000)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert interval == pytest.approx(expected, abs=5e-3)


def test_paired_bootstrap_has_a_width_if_all_images_differ_alike():
    """Agresti and Min add half an image to each cell: of 98 equal answers 1.96 / 100 to both sides of 0."""
    a, b = np.ones(98, bool), np.zeros(98, bool)
    assert statistics.paired_bootstrap(a, a) == pytest.approx((0, -0.0196, 0.0196), abs=1e-4)
    # The centre is 98 / 100 and the variance (98 + 1 - 98**2 / 100) / 100**2.
    assert statistics.paired_bootstrap(a, b) == pytest.approx((1, 0.98 - 1.96 * 0.0172, 1), abs=1e-4)
    assert statistics.paired_bootstrap(b, a) == pytest.approx((-1, -1, -0.98 + 1.96 * 0.0172), abs=1e-4)
    assert statistics.paired_bootstrap([a, b], [b, b]) == pytest.approx((0.5, *half_gap(98)), abs=1e-4)


def half_gap(n: int) -> tuple[float, float]:
    """The interval of a difference of one half on each of n images: it is right for one of two seeds."""
    centre, variance = 0.5 * n / (n + 2), (0.5 * n + 1 - (0.5 * n) ** 2 / (n + 2)) / (n + 2) ** 2
    return centre - 1.96 * variance**0.5, centre + 1.96 * variance**0.5


def test_holm_by_hand():
    """0.01 * 4, 0.02 * 3, then at least the one before and at most 1."""
    assert statistics.holm([0.02, 0.01, 0.9, 0.03]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1, 1])


def test_average_ranks_by_hand():
    """The highest value ranks first and ties share their ranks."""
    assert statistics.average_ranks([[0.9, 0.8, 0.7], [0.5, 0.5, 0.1]]) == pytest.approx([1.25, 1.75, 3])


def test_friedman_agrees_with_scipy():
    """F is computed from scipy's chi-squared; the same order on every data set gives 0."""
    table = np.random.default_rng(0).random((6, 4)) + np.array([0, 0.1, 0.2, 0.5])
    chi = stats.friedmanchisquare(*table.T).statistic
    assert statistics.friedman(table) == pytest.approx(stats.f.sf(5 * chi / (6 * 3 - chi), 3, 15))
    assert statistics.friedman([[1, 2, 3]] * 4) == 0
    assert statistics.friedman([[1, 1, 1]] * 4) == 1


def test_demsars_worked_example():
    """Four methods on 14 data sets: ranks must differ by 1.25, and at level 0.90 by 1.12 (Demšar, section 3.2.4)."""
    assert statistics.critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert statistics.critical_difference(4, 14, level=0.90) == pytest.approx(1.12, abs=5e-3)


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_are_demsars(methods, q):
    """The values of Demšar's table 5a."""
    expected = q * np.sqrt(methods * (methods + 1) / 6)
    assert statistics.critical_difference(methods, 1) == pytest.approx(expected, rel=5e-4)


def test_rank_correlation_depends_only_on_order():
    """A monotone curve has correlation 1, its reverse -1, a constant none."""
    assert statistics.rank_correlation([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1)
    assert statistics.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert np.isnan(statistics.rank_correlation([1, 2, 3], [5, 5, 5]))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: statistics.accuracy_interval([]),
        lambda: statistics.accuracy_interval([0.3, 1]),
        lambda: statistics.accuracy_interval(HALF, level=95),
        lambda: statistics.wilson_interval(0, 0),
        lambda: statistics.wilson_interval(3, 2),
        lambda: statistics.paired_bootstrap(HALF, HALF, draws=0),
        lambda: statistics.macro_accuracy_interval(HALF, [0, 1]),
        lambda: statistics.mcnemar(HALF, HALF[:3]),
        lambda: statistics.paired_bootstrap([HALF, HALF], [HALF]),
        lambda: statistics.paired_bootstrap([HALF, HALF], [HALF * 0.3, HALF]),
        lambda: statistics.randomisation_test(HALF, HALF[:3]),
        lambda: statistics.friedman([[0.1, 0.2]] * 3),
        lambda: statistics.critical_difference(1, 5),
        lambda: statistics.critical_difference(3, 0),
        lambda: statistics.mean_interval_over_seeds([]),
    ],
)
def test_wrong_input_is_an_error_of_one_line(wrong):
    """Empty, mismatched and out-of-range input raises UserError."""
    with pytest.raises(UserError) as error:
        wrong()
    assert "\n" not in str(error.value)
