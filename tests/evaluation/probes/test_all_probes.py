"""All probes: bad input is refused, and no tensor is left on the wrong device."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes.curvature import Curvature
from sslbench.bench.evaluation.probes.feature_table import FeatureTable
from sslbench.bench.evaluation.probes.logistic import LogisticProblem

X, Y = torch.randn(20, 4), torch.arange(20) % 2


def features_with_nan(row: int) -> Tensor:
    """Features (20, 4) of which one value is NaN."""
    X = torch.randn(20, 4)
    X[row, 2] = torch.nan
    return X


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: probes.linear_probe(features_with_nan(3), Y, X, 2), "NaN"),
        (lambda: probes.linear_probe(X, Y, features_with_nan(3), 2), "NaN"),
        (lambda: probes.knn_predictions(X / 0, Y, X, 2), "NaN"),
        (lambda: probes.linear_probe(X, Y * 0, X, 2), "same label"),
        (lambda: probes.mlp_probe(X, Y * 0, X, 2), "same label"),
        (lambda: probes.linear_probe(X, Y + 1, X, 2), "labels"),
        (lambda: probes.linear_probe(X, Y - 1, X, 2), "labels"),
        (lambda: probes.linear_probe(X, Y[:5], X, 2), "labels"),
        (lambda: probes.linear_probe(X[:0], Y[:0], X, 2), "images"),
        (lambda: probes.linear_probe(X, Y, X, 2, strengths=[-1.0]), "strengths"),
        (lambda: probes.logistic_regression(X, Y, 2, [1.0], precision="fp8"), "precision"),
        (lambda: probes.knn_predictions(X, Y, X, 2, k=(0,)), "k"),
        (lambda: probes.knn_predictions(X, Y, X, 2, temperature=(0.0,)), "temperature"),
        (lambda: probes.k_means(X, 21), "k"),
        (lambda: probes.ridge_regression(X, X[:3], [1.0]), "targets"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, word):
    """Bad input raises UserError with one line that names it."""
    with pytest.raises(UserError, match=word) as error:
        call()
    assert "\n" not in str(error.value)


def test_no_device_slips():
    """On fake CUDA tensors a pass of the solver, its preconditioner, the search and the clusters stay on the device."""
    problem = LogisticProblem(FeatureTable(torch.randn(30, 6), standardise=True), torch.arange(30) % 3, 3)
    with FakeTensorMode(allow_non_fake_inputs=True):
        problem.table.features = torch.empty(30, 6, device="cuda")
        problem.table.mean, problem.table.scale = torch.empty(6, device="cuda"), torch.empty(6, device="cuda")
        problem.table._cached_chunks, problem.rows = [], problem.table
        problem.labels, problem.priors = torch.zeros(30, dtype=torch.int64, device="cuda"), torch.ones(3, device="cuda")
        eigen = torch.empty(6, 6, device="cuda"), torch.empty(6, device="cuda"), torch.empty((), device="cuda")
        problem.curvature = Curvature(*eigen)
        x, penalty = problem.initial_parameters([1.0, 2.0]), torch.ones(2, dtype=torch.float64, device="cuda")
        for dtype in (torch.float32, torch.bfloat16):
            f, g, flatness = problem.evaluate(x, penalty, None, dtype)
            direction = problem.search_direction(g, flatness, penalty, [(g, g, f)])
            assert {t.device.type for t in (x, f, g, direction)} == {"cuda"}
        ((s, i),) = probes.nearest_neighbours(
            torch.empty(50, 4, device="cuda"), torch.empty(9, 4, device="cuda"), 5, 16
        )
        assert s.shape == i.shape == (9, 5)
        assert s.is_cuda
        assert probes.assign_clusters(torch.empty(9, 4, device="cuda"), torch.empty(2, 4, device="cuda")).is_cuda
