"""The preconditioner: covariance, its Nyström approximation, and the span of few rows."""

import torch

from sslbench.bench.evaluation.probes.curvature import Curvature, covariance, row_space
from sslbench.bench.evaluation.probes.feature_table import FeatureTable
from sslbench.bench.evaluation.probes.logistic import LogisticProblem, logistic_regression
from tests.builders import overlapping_classes


def test_the_nystroem_approximation_reaches_the_same_optimum():
    """The optimum is the same with Nyström's approximation instead of the covariance."""
    X, y = overlapping_classes(150, 40)
    exact = LogisticProblem(FeatureTable(X, standardise=True), y, 4)
    sketched = LogisticProblem(FeatureTable(X, standardise=True), y, 4)
    sketched.curvature = Curvature.of(sketched.table, full=10, rank=16)
    C = [1e-3, 1e-1]
    found = [r.solve(C, r.initial_parameters(C), 1e-7, 1000, "fp32").objective for r in (exact, sketched)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=0)


def test_row_space_represents_the_rows():
    """Coordinates times directions are the rows; constant features span nothing and cause no error."""
    table = FeatureTable(overlapping_classes(20, 50)[0], standardise=True)
    coordinates, directions, _ = row_space(table)
    torch.testing.assert_close(coordinates @ directions.T, torch.cat(list(table)), rtol=1e-3, atol=1e-3)
    y = torch.tensor([0, 0, 1])
    assert logistic_regression(torch.ones(3, 5), y, 2, [1.0]).predict(torch.ones(2, 5)).tolist() == [[0, 0]]


def test_a_full_rank_approximation_is_the_covariance():
    """Nyström's approximation at full rank solves as the eigendecomposition does."""
    X, _ = overlapping_classes(150, 30)
    table = FeatureTable(X, standardise=True)
    gradient, weight, penalty = torch.randn(2, 3, 30), torch.full((2, 3, 1), 0.3), torch.tensor([[[0.1]], [[1.0]]])
    solved = [Curvature.of(table, full=f, rank=30).solve(gradient, weight, penalty) for f in (64, 8)]
    torch.testing.assert_close(solved[0], solved[1], rtol=0.05, atol=0.02)


def test_covariance_by_blocks_is_the_covariance():
    """The mirrored upper blocks equal X'X."""
    X, _ = overlapping_classes(50, 600)
    table = FeatureTable(X, standardise=True)
    Z = torch.cat(list(table))
    torch.testing.assert_close(covariance(table), Z.T @ Z, rtol=1e-3, atol=1e-3)
