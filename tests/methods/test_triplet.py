"""Triplet loss: distances, the choice of negatives, and the hinge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._views import two_views
from sslbench.methods.triplet import Triplet, mine_negatives, positive_indices, same_image_mask, squared_distances

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> Triplet:
    torch.manual_seed(0)
    return Triplet(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5} | settings).eval()


def square(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def negatives_of(anchor: int, points: list[list[float]], how: str, many: int) -> list[int]:
    """By definition: the hardest negatives, or the nearest of those that are farther than the positive."""
    N = len(points) // 2
    positive = square(points[anchor], points[(anchor + N) % (2 * N)])
    others = sorted((square(points[anchor], points[i]), i) for i in range(2 * N) if i % N != anchor % N)
    if how == "hardest":
        return [i for _, i in others[:many]]
    farther = [i for distance, i in others if distance > positive][:many]
    return farther + [others[-1][1]] * (many - len(farther))


def test_distances_match_a_loop() -> None:
    """Squared distances of unit vectors match a loop, as does which views are of the same image."""
    torch.manual_seed(0)
    z = F.normalize(torch.randn(6, 3), dim=1)
    distances = squared_distances(z)
    for i in range(6):
        for j in range(6):
            assert distances[i, j].item() == pytest.approx(square(z[i].tolist(), z[j].tolist()), abs=1e-5)
            assert same_image_mask(z)[i, j].item() is (i % 3 == j % 3)
    assert positive_indices(z).tolist() == [3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("how", ["semi_hard", "hardest"])
@pytest.mark.parametrize("many", [1, 3])
def test_mining_matches_a_loop(how: str, many: int) -> None:
    """Each anchor gets the negatives of the definition, and the farthest negative if none is semi-hard."""
    torch.manual_seed(0)
    z = F.normalize(torch.randn(12, 2), dim=1)
    z[6] = -z[0]  # the largest distance: nothing is semi-hard
    distances = squared_distances(z)
    positive = distances.gather(1, positive_indices(z).unsqueeze(1))
    found = mine_negatives(distances.masked_fill(same_image_mask(z), torch.inf), positive, how, many)
    want = [negatives_of(anchor, z.tolist(), how, many) for anchor in range(12)]
    assert found.tolist() == want


def test_random_negatives_are_of_all_other_images() -> None:
    """Every view of every other image is drawn, and never a view of the anchor's image."""
    torch.manual_seed(0)
    z = F.normalize(torch.randn(6, 3), dim=1)
    others = squared_distances(z).masked_fill(same_image_mask(z), torch.inf)
    drawn = [mine_negatives(others, torch.zeros(6, 1), "random", 2) for _ in range(60)]
    assert all(len(set(row)) == 2 for found in drawn for row in found.tolist())
    for anchor in range(6):
        assert {i for found in drawn for i in found[anchor].tolist()} == {i for i in range(6) if i % 3 != anchor % 3}


@pytest.mark.parametrize("how", ["semi_hard", "hardest"])
def test_the_loss_matches_a_loop(how: str, tiny: Dataset) -> None:
    """It is max(0, |a - p|^2 - |a - n|^2 + margin), averaged over all triplets of all views as anchors."""
    method = make_method(negatives=how, triplets=2, margin=0.3)
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(4)))
    torch.manual_seed(1)
    points = [
        F.normalize(method.head(method.encoder(one.unsqueeze(0))), dim=1)[0].tolist() for one in two_views(images)
    ]
    total, right = 0.0, 0
    for anchor in range(8):
        positive = square(points[anchor], points[(anchor + 4) % 8])
        for negative in negatives_of(anchor, points, how, 2):
            total += max(0.0, positive - square(points[anchor], points[negative]) + 0.3)
        right += all(square(points[anchor], points[i]) > positive for i in range(8) if i % 4 != anchor % 4)
    assert loss.item() == pytest.approx(total / 16, rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(right / 8)


def test_the_loss_of_a_constant_embedding_is_the_margin() -> None:
    """If all embeddings are equal, all distances are, and only the margin is left."""
    method = make_method(margin=0.7)
    with torch.no_grad():
        method.head.weight.zero_()
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    assert method.loss(Batch(images=images, indices=torch.arange(4))).item() == pytest.approx(0.7)
