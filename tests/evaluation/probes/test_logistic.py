"""Logistic regression reaches scikit-learn's optimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from sslbench.bench.evaluation.probes.feature_table import FeatureTable
from sslbench.bench.evaluation.probes.logistic import LogisticProblem, logistic_regression
from tests.builders import overlapping_classes


def scikit_learn_optimum(X: Tensor, y: Tensor, C: float) -> tuple[float, LogisticRegression]:
    """scikit-learn's objective divided by C N, as in our definition, and its model."""
    model = LogisticRegression(C=C, tol=1e-10, max_iter=20000, solver="lbfgs").fit(X.double().numpy(), y.numpy())
    p = model.predict_proba(X.double().numpy())[np.arange(len(y)), y.numpy()]
    return float(-np.log(p).mean() + (model.coef_**2).sum() / (2 * C * len(y))), model


@pytest.mark.parametrize("C", [1e-3, 1e-1, 10.0])
def test_accuracy_is_scikit_learns(C):
    """Accuracy on 2,000 new images equals that of scikit-learn's optimum to a tenth of a point."""
    X, y = overlapping_classes(400, 20)
    test, truth = overlapping_classes(2000, 20, seed=1)
    mean, std = X.mean(0), X.std(0)
    ours = logistic_regression((X - mean) / std, y, 4, [C], tolerance=1e-9)
    optimum, model = scikit_learn_optimum((X - mean) / std, y, C)
    theirs = model.score(((test - mean) / std).numpy(), truth.numpy())
    assert float((ours.predict((test - mean) / std)[0] == truth).float().mean()) == pytest.approx(theirs, abs=1e-3)
    assert float(ours.objective[0]) == pytest.approx(optimum, abs=1e-4)


@pytest.mark.parametrize(("n", "d", "classes"), [(300, 20, 4), (60, 100, 3), (200, 10, 2)])
def test_the_objective_reaches_scikit_learns_optimum(n, d, classes):
    """Objectives agree to 1e-4 for strengths from 1e-4 to 1e4, also with few images and with two classes."""
    X, y = overlapping_classes(n, d, classes, apart=0.3)
    X = (X - X.mean(0)) / X.std(0)
    strengths = [1e-4, 1e-2, 1.0, 1e2, 1e4]
    ours = logistic_regression(X, y, classes, strengths, tolerance=1e-9)
    for i, C in enumerate(strengths):
        optimum, model = scikit_learn_optimum(X, y, C)
        assert float(ours.objective[i]) == pytest.approx(optimum, rel=1e-4, abs=1e-7)
        agreement = (ours.predict(X)[i].numpy() == model.predict(X.numpy())).mean()
        assert agreement > 0.99


def test_the_reported_objective_is_that_of_the_reported_weights():
    """The weights for the unstandardised features have the reported objective."""
    X, y = overlapping_classes(200, 12)
    C = torch.tensor([1e-3, 1e-1], dtype=torch.float64)
    fit = logistic_regression(X, y, 4, C)
    for i in range(2):
        loss = torch.nn.functional.cross_entropy(fit.scores(X)[i].double(), y)
        objective = loss + fit.weights[i].double().square().sum() / (2 * C[i] * len(y))
        assert float(objective) == pytest.approx(float(fit.objective[i]), rel=1e-5)


def test_strengths_do_not_influence_each_other():
    """Each strength reaches the same optimum alone and together with others."""
    X, y = overlapping_classes(200, 12)
    together = logistic_regression(X, y, 4, [1e-4, 1e-2, 1.0]).objective
    alone = torch.cat([logistic_regression(X, y, 4, [c]).objective for c in (1e-4, 1e-2, 1.0)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


def test_bf16_reaches_the_same_optimum():
    """Only the first part of the search is in bf16; the end in float32 determines the result."""
    X, y = overlapping_classes(200, 16)
    low, high = (logistic_regression(X, y, 4, [1e-3, 1e-1], tolerance=1e-7, precision=p) for p in ("bf16", "fp32"))
    torch.testing.assert_close(low.objective, high.objective, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 100)])
def test_parameters_of_a_solution_are_that_solution(n, d):
    """Converting a model to parameters and back gives the same model, in all coordinates."""
    X, y = overlapping_classes(n, d, 3, apart=0.3)
    X[:, 3] = 7.0
    found = logistic_regression(X, y, 3, [1e-2, 1.0])
    problem = LogisticProblem(FeatureTable(X, standardise=True), y, 3)
    again = problem.to_models(problem.parameters_of(found, 1), found.objective[:1], found.iterations[:1])
    torch.testing.assert_close(again.scores(X)[0], found.scores(X)[1], rtol=1e-3, atol=1e-3)
