"""Speed of the probes compared to scikit-learn, faiss and lightly, at the size of CIFAR-10; results must agree.

Run with ``make bench``. The features are those of the untrained default encoder for the images in the folder
``SSLBENCH_CIFAR10_DIR`` (train/<class>/… and test/<class>/…), or for embedded images where it is not set.
``SSLBENCH_SPEED_IMAGES`` reduces the number of images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sslbench.bench.data.folder import Folder
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.bench.evaluation.representation import Representation

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("SSLBENCH_CIFAR10_DIR", "synthetic")).name
IMAGES = int(os.environ.get("SSLBENCH_SPEED_IMAGES", "50000"))
CLASSES, K, TEMPERATURE = 10, 200, 0.07
WEAKEST = 1.0  # the weakest of the twenty strengths, which scikit-learn also solves


@pytest.fixture(scope="module")
def representation() -> Representation:
    """The untrained encoder on 50,000 train and 10,000 test images."""
    folder = os.environ.get("SSLBENCH_CIFAR10_DIR")
    if folder:
        source: Any = Folder(data_dir=folder)
        source.check()
    else:
        source = Synthetic(train=IMAGES, test=max(20, IMAGES // 5))
    torch.manual_seed(0)
    encoder = ConvNet(32).to(memory_format=torch.channels_last)
    return Representation(encoder, source.load(frozenset()), "speed", torch.device("cpu"))


def standardised_features(representation: Representation, spec: FeatureSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised features and labels of train and test, in random order."""
    X, test = representation.train(spec), representation.test(spec)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))[:IMAGES]
    few = torch.randperm(len(test), generator=torch.Generator().manual_seed(1))[: max(20, IMAGES // 5)]
    mean, std = X.mean(0), X.std(0).clamp_min(1e-6)
    labels, truth = representation.train_labels, representation.test_labels
    return (X[order] - mean) / std, labels[order], (test[few] - mean) / std, truth[few]


@pytest.fixture(scope="module")
def wide(representation: Representation) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """2,048 features per image: conv4 pooled to 4 x 4."""
    return standardised_features(representation, FeatureSpec("conv4", 2048))


@pytest.fixture(scope="module")
def narrow(representation: Representation) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """512 features per image: conv4 pooled to 2 x 2."""
    return standardised_features(representation, FeatureSpec("conv4", 512))


def measure_once(benchmark: Any, call: Callable[[], Any]) -> Any:
    """Measures one round, since these take seconds to minutes."""
    return benchmark.pedantic(call, rounds=1, iterations=1)


@pytest.mark.benchmark(group=f"logistic regression on {IMAGES:,} x 2,048 features of {DATA}")
class TestLogisticRegression:
    """Our twenty strengths compared to one of scikit-learn."""

    optimum: tuple[float, float]

    @pytest.mark.filterwarnings("ignore")
    def test_scikit_learn_one_strength(self, benchmark, wide):
        """scikit-learn, only the weakest of the strengths."""
        linear_model = pytest.importorskip("sklearn.linear_model")
        X, y, test, truth = wide
        model = linear_model.LogisticRegression(C=WEAKEST, max_iter=1000)
        measure_once(benchmark, lambda: model.fit(X.numpy(), y.numpy()))
        W, b = torch.from_numpy(model.coef_).double(), torch.from_numpy(model.intercept_).double()
        loss = sum(
            F.cross_entropy(x.double() @ W.T + b, t, reduction="sum")
            for x, t in zip(X.split(4096), y.split(4096), strict=True)
        )
        objective = float(loss) / len(X) + W.square().sum().item() / (2 * WEAKEST * len(X))
        type(self).optimum = objective, model.score(test.numpy(), truth.numpy())

    def test_twenty_strengths_at_once(self, benchmark, wide):
        """All twenty; objective and accuracy agree with scikit-learn's to 1e-4 and 0.1 points."""
        X, y, test, truth = wide
        strengths = torch.logspace(-6, 0, 20)
        found = measure_once(benchmark, lambda: probes.logistic_regression(X, y, CLASSES, strengths))
        accuracy = (found.predict(test)[-1] == truth).float().mean().item()
        if hasattr(type(self), "optimum"):
            objective, theirs = self.optimum
            assert float(found.objective[-1]) < objective + 1e-4
            assert accuracy == pytest.approx(theirs, abs=1e-3)


@pytest.mark.benchmark(group=f"a probe with its choice of strength, {IMAGES:,} x 2,048 features of {DATA}")
@pytest.mark.parametrize("probe", [probes.linear_probe, probes.mlp_probe])
def test_probe(benchmark, wide, probe):
    """From features to predictions."""
    X, y, test, _ = wide
    measure_once(benchmark, lambda: probe(X, y, test, CLASSES))


@pytest.mark.benchmark(group=f"nearest neighbours, {IMAGES:,} x 512 features of {DATA}, k = 200")
class TestNeighbours:
    """Our search with votes, faiss's search without votes, and lightly's kNN."""

    def test_knn(self, benchmark, narrow):
        """Search and votes; beyond the features it takes at most 500 MB."""
        X, y, test, _ = narrow
        resource = pytest.importorskip("resource")  # not on Windows
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        measure_once(benchmark, lambda: probes.knn_predictions(X, y, test, CLASSES, k=(K,), temperature=(TEMPERATURE,)))
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 500e6

    def test_knn_grid(self, benchmark, narrow):
        """Twenty pairs of k and T, including the one of the test before, from one search."""
        X, y, test, _ = narrow
        grid = {"k": (1, 5, 20, 50, K), "temperature": (0.05, TEMPERATURE, 0.1, 0.5)}
        assert len(measure_once(benchmark, lambda: probes.knn_predictions(X, y, test, CLASSES, **grid))) == 20

    def test_faiss_search_alone(self, benchmark, narrow):
        """faiss's exact inner-product search, without the votes; its neighbours are ours."""
        faiss = pytest.importorskip("faiss")
        X, test = F.normalize(narrow[0]), F.normalize(narrow[2])
        index = faiss.IndexFlatIP(X.shape[1])
        index.add(X.numpy())
        theirs = measure_once(benchmark, lambda: index.search(test.numpy(), K))
        ours = torch.cat([s.clone() for s, _ in probes.nearest_neighbours(X, test, K, 256)])
        torch.testing.assert_close(ours, torch.from_numpy(theirs[0]), rtol=0, atol=1e-5)

    def test_lightly(self, benchmark, narrow):
        """lightly's kNN in chunks; its predictions equal ours except for rounding."""
        knn_predict = pytest.importorskip("lightly.utils.benchmarking", exc_type=ImportError).knn_predict
        X, y, test = F.normalize(narrow[0]), narrow[1], F.normalize(narrow[2])
        bank = X.T.contiguous()
        theirs = measure_once(
            benchmark,
            lambda: torch.cat([knn_predict(q, bank, y, CLASSES, K, TEMPERATURE)[:, 0] for q in test.split(512)]),
        )
        ours = probes.knn_predictions(X, y, test, CLASSES, k=(K,), temperature=(TEMPERATURE,))[K, TEMPERATURE]
        assert (theirs == ours).float().mean() > 0.9995
