"""Ridge regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from sslbench.bench.evaluation.probes import ridge_regression
from tests.builders import overlapping_classes


@pytest.mark.parametrize(("n", "d"), [(60, 10), (20, 50)])
def test_ridge_agrees_with_scikit_learn(n, d):
    """Weights and bias agree for every penalty, with fewer and with more features than images."""
    X, _ = overlapping_classes(n, d)
    Y = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    weights, bias = ridge_regression(X, Y, [0.1, 10.0])
    for i, penalty in enumerate([0.1, 10.0]):
        model = Ridge(alpha=penalty).fit(X.double().numpy(), Y.double().numpy())
        np.testing.assert_allclose(weights[i].numpy(), model.coef_.T, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(bias[i].numpy(), model.intercept_, rtol=1e-3, atol=1e-3)
