"""DeepCluster: spherical k-means, when it runs, and the loss on its labels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import _clusters
from sslbench.methods._clusters import Clusterings, draw_initial_centroids, nearest_centroids, spherical_k_means
from sslbench.methods._views import two_views
from sslbench.methods.deepcluster import DeepCluster

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> DeepCluster:
    torch.manual_seed(0)
    return DeepCluster(ConvNet(32, width=4), TRAIN_INFO, **{"clusters": (3, 4), "hidden": 6, "dim": 5} | settings)


def unit_vectors(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def nearest(vector: list[float], centroids: list[list[float]]) -> int:
    return max(range(len(centroids)), key=lambda k: dot(vector, centroids[k]))


def lloyd(vectors: list[list[float]], centroids: list[list[float]], iterations: int) -> list[list[float]]:
    """Each centroid becomes the normalised mean of the vectors nearest to it, and stays if there are none."""
    for _ in range(iterations):
        labels = [nearest(vector, centroids) for vector in vectors]
        moved = []
        for k, centroid in enumerate(centroids):
            members = [vector for vector, label in zip(vectors, labels, strict=True) if label == k]
            mean = [sum(column) / len(members) for column in zip(*members, strict=True)] if members else centroid
            length = math.sqrt(dot(mean, mean))
            moved.append([x / length for x in mean])
        centroids = moved
    return centroids


@pytest.mark.parametrize("rows", [3, 100])
def test_k_means_matches_a_loop(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lloyd's iterations on the sphere, for any chunk size; an empty cluster keeps its centroid."""
    monkeypatch.setattr(_clusters, "ROWS", rows)
    torch.manual_seed(0)
    vectors = F.normalize(torch.rand(20, 3), dim=1)
    first = torch.cat([vectors[:3], F.normalize(-vectors[:1], dim=1)])  # nothing is nearest to the last
    found = spherical_k_means(vectors, first, 4)
    want = lloyd(vectors.tolist(), first.tolist(), 4)
    for centroid, other in zip(found.tolist(), want, strict=True):
        assert centroid == pytest.approx(other, abs=1e-5)
    torch.testing.assert_close(found[3], first[3])
    assert nearest_centroids(vectors, found).tolist() == [nearest(vector, want) for vector in vectors.tolist()]


def test_well_separated_clusters_are_found() -> None:
    """Three bundles of directions become three clusters."""
    torch.manual_seed(0)
    truth = torch.arange(30) % 3
    vectors = F.normalize(torch.eye(3)[truth] + 0.05 * torch.randn(30, 3), dim=1)
    labels = nearest_centroids(vectors, spherical_k_means(vectors, vectors[:3], 5))
    assert torch.equal(labels, labels[:3][truth])


def test_first_centroids_are_different_seen_images() -> None:
    """They are drawn without replacement from the images seen; the rest are zeros if these are too few."""
    torch.manual_seed(0)
    vectors = torch.zeros(10, 2)
    vectors[4:] = unit_vectors(6, 2)
    for _ in range(5):
        drawn = draw_initial_centroids(vectors, 6)
        assert drawn.any(1).all()
        assert len(drawn.unique(dim=0)) == 6
    assert draw_initial_centroids(vectors, 8).any(1).sum() == 6


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """Cross-entropy of z . c / t for the image's cluster, over both views and all heads."""
    method = make_method(temperature=0.3).eval()
    images, indices = tiny.train.images[:4], torch.tensor([9, 2, 30, 41])
    clusters = torch.tensor([[0, 2, 1, 1], [3, 1, 0, 2]])
    method.clusterings.assignments[:, indices] = clusters
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=indices))
    torch.manual_seed(1)
    views = two_views(images, method.augmentation)
    z = [F.normalize(method.head(method.encoder(v.unsqueeze(0))), dim=1)[0].tolist() for v in views]
    total, right = 0.0, 0
    for head, centroids in enumerate(method.clusterings.centroids.split([3, 4])):
        for n in range(4):
            for one in (z[n], z[4 + n]):
                exps = [math.exp(dot(one, centroid) / 0.3) for centroid in centroids.tolist()]
                total -= math.log(exps[clusters[head, n]] / sum(exps))
                right += nearest(one, centroids.tolist()) == clusters[head, n]
    assert loss.item() == pytest.approx(total / 16, rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(right / 16)


def test_an_image_without_a_cluster_sends_no_gradient(tiny: Dataset) -> None:
    """If half of the images of a batch have no cluster yet, the gradient is that of the other half."""
    method = make_method(temperature=0.3).eval()
    images, indices = tiny.train.images[:4], torch.tensor([9, 2, 30, 41])
    method.clusterings.assignments[:, indices[:2]] = torch.tensor([[0, 2], [3, 1]])
    torch.manual_seed(1)
    method.loss(Batch(images=images, indices=indices)).backward()
    found = [p.grad.clone() for p in method.head.parameters() if p.grad is not None]
    torch.manual_seed(1)
    z = method.embed(two_views(images, method.augmentation))[[0, 1, 4, 5]]
    method.zero_grad()
    for scores, answers in zip(method.clusterings(z), ([0, 2, 0, 2], [3, 1, 3, 1]), strict=True):
        (F.cross_entropy(scores / 0.3, torch.tensor(answers), reduction="sum") / 16).backward(retain_graph=True)
    want = [p.grad for p in method.head.parameters() if p.grad is not None]
    assert len(found) == len(want) == 5
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def filled_memory(clusters: tuple[int, ...], epochs: float) -> tuple[Clusterings, list[bool]]:
    """A memory after two epochs of 12 images in batches of 4, and whether the centroids changed at each step."""
    torch.manual_seed(0)
    memory, changed = Clusterings(12, 5, clusters, epochs, 3), []
    for step in range(6):
        before = memory.centroids.clone()
        memory.update(torch.arange(4) + 4 * (step % 3), unit_vectors(2, 4, 5))
        changed.append(not torch.equal(memory.centroids, before))
    return memory, changed


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, {2, 5}), (0.67, {1, 3, 5}), (2.0, {5}), (0.01, set(range(6)))])
def test_images_are_clustered_once_per_period(epochs: float, steps: set[int]) -> None:
    """Clustering happens once per period, and at most once per step."""
    assert {step for step, changed in enumerate(filled_memory((2, 3), epochs)[1]) if changed} == steps


def test_every_image_has_the_nearest_cluster() -> None:
    """Heads alternate between first and second views; an image that was never seen has no cluster."""
    memory, _ = filled_memory((2, 3, 4), 2.0)
    for head, centroids in enumerate(memory.centroids.split([2, 3, 4])):
        for image, vector in enumerate(memory.memory[head % 2].tolist()):
            assert memory.assignments[head, image].item() == nearest(vector, centroids.tolist())
        torch.testing.assert_close(centroids.norm(dim=1), torch.ones(len(centroids)))
    early = Clusterings(12, 5, (2,), 0.01, 3)
    early.update(torch.tensor([3, 8]), unit_vectors(2, 2, 5))
    assert (early.assignments[0] >= 0).nonzero().flatten().tolist() == [3, 8]


def test_there_are_no_more_clusters_than_images() -> None:
    """The paper's thousands of clusters are limited to the number of images."""
    assert Clusterings(12, 5, (3000, 4), 1.0, 3).clusters == [12, 4]


def test_the_memory_holds_both_views(tiny: Dataset) -> None:
    """After a step, and not before, the memory has the embeddings of both views."""
    method, indices = make_method().eval(), torch.tensor([7, 3])
    images = tiny.train.images[indices]
    torch.manual_seed(1)
    method.loss(Batch(images=images, indices=indices)).backward()
    assert not method.clusterings.memory.any()
    method.after_step(0.1)
    torch.manual_seed(1)
    z = method.embed(two_views(images, method.augmentation))
    torch.testing.assert_close(method.clusterings.memory[:, indices], z.view(2, 2, 5), atol=1e-4, rtol=0)
    assert method.clusterings.memory.any(2).sum() == 4


def test_an_image_is_shown_with_its_cluster(tiny: Dataset) -> None:
    """Without a cluster the caption says so; afterwards the nearest image of the same cluster is shown."""
    method, indices = make_method().eval(), torch.tensor([7, 3, 9])
    batch = Batch(images=tiny.train.images[indices], indices=indices)
    assert method.panels(batch)[0].captions == ("no cluster yet",) * 3
    method.clusterings.assignments[0, indices] = torch.tensor([1, 2, 1])
    image, _, nearest = method.panels(batch)
    assert image.captions == ("cluster 1", "cluster 2", "cluster 1")
    assert torch.equal(nearest.images[[0, 2]], batch.images[[2, 0]])
    assert [caption.startswith("cosine") for caption in nearest.captions] == [True, False, True]
