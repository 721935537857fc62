"""How fast the probes are beside scikit-learn, faiss and lightly: one group per comparison, so ratios share a table.

Run with ``pytest -m slow --benchmark-only tests/benchmarks/test_probes_speed.py``. Features come from an untrained
convolutional network, of the images under ``SSLBENCH_CIFAR10_DIR`` (train/<class>/*.jpg) where that is set, otherwise
of smooth noise. ``SSLBENCH_SPEED_IMAGES`` sets how many.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import probes

pytestmark = pytest.mark.slow

IMAGES = int(os.environ.get("SSLBENCH_SPEED_IMAGES", "4000"))
CLASSES = 10


def images_and_labels(n: int) -> tuple[Tensor, Tensor]:
    """n images (n, 3, 32, 32) in 0 ... 1 and their labels, classes by turns."""
    folder = os.environ.get("SSLBENCH_CIFAR10_DIR")
    labels = torch.arange(n) % CLASSES
    if folder:
        from torchvision.io import ImageReadMode, decode_image

        files = [sorted(c.glob("*.jpg")) for c in sorted((Path(folder) / "train").iterdir())]
        paths = [files[i % CLASSES][i // CLASSES] for i in range(n)]
        return torch.stack([decode_image(str(p), ImageReadMode.RGB) for p in paths]).float() / 255, labels
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(CLASSES, 3, 4, 4, generator=generator)[labels] + torch.rand(n, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, 32, mode="bilinear") / 2, labels


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    """Features (n, 2048) of an untrained network, standardised, and labels."""
    images, labels = images_and_labels(IMAGES)
    torch.manual_seed(0)
    widths, layers = (3, 32, 64, 128), []
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    encoder = nn.Sequential(*layers, nn.Flatten())
    with torch.no_grad():
        features = torch.cat([encoder(x - 0.5) for x in images.split(500)])
    return (features - features.mean(0)) / features.std(0).clamp_min(1e-6), labels


def once(benchmark, call: Callable[[], object]) -> None:
    """One round: these take seconds."""
    benchmark.pedantic(call, rounds=1, iterations=1)


@pytest.mark.benchmark(group="logistic regression")
def test_twenty_strengths_at_once(benchmark, data):
    """Twenty strengths side by side."""
    X, y = data
    once(benchmark, lambda: probes.logistic_regression(X, y, CLASSES, torch.logspace(-6, 0, 20)))


@pytest.mark.benchmark(group="logistic regression")
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_one_strength(benchmark, data):
    """scikit-learn, the weakest of those strengths alone."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = data[0].numpy(), data[1].numpy()
    once(benchmark, lambda: linear_model.LogisticRegression(C=1.0, max_iter=1000).fit(X, y))


@pytest.mark.benchmark(group="probes")
@pytest.mark.parametrize("probe", [probes.linear_probe, probes.mlp_probe])
def test_probe(benchmark, data, probe):
    """A probe from features to predictions, strengths and their choice included."""
    X, y = data
    once(benchmark, lambda: probe(X, y, X[:1000], CLASSES))


@pytest.mark.benchmark(group="nearest neighbours")
def test_knn(benchmark, data):
    """One search and the votes of four (k, T)."""
    X, y = data[0][:, :512].contiguous(), data[1]
    once(benchmark, lambda: probes.knn(X, y, X[: IMAGES // 5], CLASSES, k=(20, 200), temperature=(0.07, 0.1)))


@pytest.mark.benchmark(group="nearest neighbours")
def test_faiss_search_alone(benchmark, data):
    """faiss's exact inner-product search, without the votes; its neighbours are ours."""
    faiss = pytest.importorskip("faiss")
    X = nn.functional.normalize(data[0][:, :512])
    index = faiss.IndexFlatIP(512)
    index.add(X.numpy())
    once(benchmark, lambda: index.search(X[: IMAGES // 5].numpy(), 200))
    theirs = torch.from_numpy(index.search(X[:100].numpy(), 200)[0])
    ((ours, _),) = probes.nearest(X, X[:100], 200, 100)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.benchmark(group="nearest neighbours")
def test_lightly(benchmark, data):
    """lightly's rule for one (k, T); nearly all its predictions are ours."""
    knn_predict = pytest.importorskip("lightly.utils.benchmarking", exc_type=ImportError).knn_predict
    X, y = nn.functional.normalize(data[0][:, :512]), data[1]
    queries = X[: IMAGES // 5]

    def predictions() -> Tensor:
        return torch.cat([knn_predict(q, X.T, y, CLASSES, 200, 0.1)[:, 0] for q in queries.split(256)])

    once(benchmark, predictions)
    ours = probes.knn(X, y, queries, CLASSES, k=(200,), temperature=(0.1,))[200, 0.1]
    assert (predictions() == ours).float().mean() > 0.99
