"""word2vec: where patches and negatives come from, and the log-sigmoid loss."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import word2vec
from sslbench.methods._patch_pictures import GREEN
from sslbench.methods._patches import neighbour_pairs
from sslbench.methods.word2vec import Word2Vec, score_all_pairs

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> Word2Vec:
    torch.manual_seed(0)
    return Word2Vec(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5, "negatives": 3} | settings)


def make_batch(data: Dataset, N: int = 4) -> Batch:
    return Batch(images=data.train.images[:N], indices=torch.arange(N))


def test_patches_are_inside_their_cells() -> None:
    """Each patch is at a random place within its cell of the grid, so gaps of all widths occur."""
    method = make_method(grid=4, gap=0.25)
    assert (method.cell, method.patch) == (8, 6)
    _, _, top, left = method.draw_patches(torch.zeros(200, 3, 32, 32))
    for corners, cells in ((top, torch.arange(16) // 4), (left, torch.arange(16) % 4)):
        assert sorted((corners - cells * 8).unique().tolist()) == [0, 1, 2]
    assert method.views_per_image == pytest.approx(16 * 36 / 1024)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_loss_matches_a_loop(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is equation 4 for each neighbour of each patch, with K separate negatives."""
    method = make_method(colour="keep", gap=0.0, grid=2).eval()
    for layer in (method.word, method.context):
        torch.nn.init.normal_(layer.weight)
    drawn: list[Tensor] = []
    randint = torch.randint

    def recorded(*arguments: Any, **options: Any) -> Tensor:
        drawn.append(randint(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(torch, "randint", recorded)
    monkeypatch.setattr(word2vec.augment, "random_flip", lambda images: images)
    images = make_batch(tiny)
    loss = method.loss(images)
    _, shift, places = drawn
    assert shift.shape == places.shape == (4, 12, 3)

    pictures = images.images.float() / 255
    v, u = {}, {}
    for n, (row, column) in itertools.product(range(4), itertools.product(range(2), range(2))):
        patch = pictures[n : n + 1, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        embedding = method.encoder(patch)[0]
        v[n, row * 2 + column] = method.word(embedding).tolist()
        u[n, row * 2 + column] = method.context(embedding).tolist()

    def score(centre: tuple[int, int], context: tuple[int, int]) -> float:
        return sum(a * b for a, b in zip(v[centre], u[context], strict=True))

    terms, higher, images_drawn = [], [], set()
    for n in range(4):
        for q, (centre, context) in enumerate(neighbour_pairs(2, 1)):
            true = score((n, centre), (n, context))
            term = math.log(logistic(true))
            for k in range(3):
                other = (n + int(shift[n, q, k])) % 4
                images_drawn.add((n, other))
                false = score((n, centre), (other, int(places[n, q, k])))
                term += math.log(logistic(-false))
                higher.append(true > false)
            terms.append(-term)
    assert images_drawn == {(n, m) for n in range(4) for m in range(4) if n != m}  # never the image itself
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(higher) / len(higher))


def test_the_lowest_loss_of_a_constant_score_is_that_of_the_docstring(tiny: Dataset) -> None:
    """A score of -log K has the loss log(1 + K) + K log(1 + 1/K), and other constants have a higher one."""
    K = 3
    costs = {}
    for score in (-math.log(K), -math.log(K) + 0.3, -math.log(K) - 0.3, 0.0):
        method = make_method(negatives=K, dim=1)
        for layer, value in ((method.word, 1.0), (method.context, score)):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.constant_(layer.bias, value)
        costs[score] = method.loss(make_batch(tiny)).item()
    assert min(costs, key=costs.__getitem__) == -math.log(K)
    assert costs[-math.log(K)] == pytest.approx(math.log(1 + K) + K * math.log(1 + 1 / K), rel=1e-4)
    assert costs[0.0] == pytest.approx((1 + K) * math.log(2), rel=1e-4)


def test_all_pairs_are_scored() -> None:
    """Score (n, p, m, q) is the inner product of centre p of image n and context q of image m."""
    v, u = torch.randn(2, 3, 4), torch.randn(3, 5, 4)
    scores = score_all_pairs(v, u)
    for n, p, m, q in itertools.product(range(2), range(3), range(3), range(5)):
        assert scores[n, p, m, q].item() == pytest.approx(v[n, p].dot(u[m, q]).item(), abs=1e-5)


def test_the_true_neighbours_are_marked(tiny: Dataset) -> None:
    """The number of patches with a green border is that in the caption."""
    with torch.no_grad():
        picture, seen, ranked = make_method(grid=2).eval().panels(make_batch(tiny, 2))
    assert seen.images.shape[2] == seen.images.shape[3]
    green = torch.tensor(GREEN).view(3, 1, 1)
    for image, caption in zip(ranked.images, ranked.captions, strict=True):
        corners = image[:, :: image.shape[1] // 2, :: image.shape[2] // 3]  # 2 x 3 of the 7 others
        assert int(caption.split()[0]) == (corners == green).all(0).sum()
        assert caption.endswith("of 3 true, among 7")
    assert (picture.images == green).all(1).any()
