"""Jigsaw: where tiles are cut, how they are normalised, and which permutations there are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import colour_jitter, random_resized_crops
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import jigsaw
from sslbench.methods._patches import normalised_patches
from sslbench.methods._tiles import cut_tiles
from sslbench.methods.jigsaw import Jigsaw, permutation_set

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def test_tiles_come_from_their_cells() -> None:
    """Tile t is a square within cell t, at a random place per tile, with all channels."""
    N, S, cell, tile = 5, 16, 5, 3
    number, row, column = torch.meshgrid(torch.arange(N), torch.arange(S), torch.arange(S), indexing="ij")
    images = torch.stack([number, row, column], dim=1)  # every pixel says where it is
    torch.manual_seed(0)
    tiles = cut_tiles(images, cell, tile)
    assert tiles.shape == (N, 9, 3, tile, tile)
    places = set()
    for n, t in itertools.product(range(N), range(9)):
        top, left = tiles[n, t, 1, 0, 0].item(), tiles[n, t, 2, 0, 0].item()
        down, right = top - t // 3 * cell, left - t % 3 * cell
        assert 0 <= down <= cell - tile
        assert 0 <= right <= cell - tile
        places.add((down, right))
        for y, x in itertools.product(range(tile), range(tile)):
            assert tiles[n, t, :, y, x].tolist() == [n, top + y, left + x]
    assert places == set(itertools.product(range(3), range(3)))


def test_without_a_gap_the_tiles_cover_the_image() -> None:
    """With ``gap=0`` the nine tiles put together are the image."""
    images = torch.arange(2 * 3 * 12 * 12).view(2, 3, 12, 12)
    tiles = cut_tiles(images, 4, 4).view(2, 3, 3, 3, 4, 4)
    assert torch.equal(tiles.permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 12, 12), images)


def test_every_tile_is_normalised_alike(tiny: Dataset) -> None:
    """Each channel of a tile has mean 0.5 and standard deviation 0.25, independent of other tiles."""
    tiles = cut_tiles(tiny.train.images[:8], 10, 8)
    textured = tiles.float().std((-2, -1), correction=0) > 25
    assert textured.sum() > 50
    normal = normalised_patches(tiles)
    torch.testing.assert_close(normal.mean((-2, -1)), torch.full(normal.shape[:3], 0.5), atol=1e-4, rtol=0)
    spread = normal.std((-2, -1), correction=0)
    assert spread.max() < 0.25
    assert spread[textured].min() > 0.22
    uniform = normalised_patches(torch.full((1, 9, 3, 8, 8), 7, dtype=torch.uint8))
    assert torch.equal(uniform, torch.full((1, 9, 3, 8, 8), 0.5))
    for n, t in itertools.product(range(2), range(9)):
        torch.testing.assert_close(normalised_patches(tiles[n, t]), normal[n, t])


def test_the_permutation_set_is_the_greedy_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With four tiles, each next permutation is the first with the largest sum of Hamming distances to the others."""
    monkeypatch.setattr(jigsaw, "TILES", 4)
    orders = list(itertools.permutations(range(4)))
    for size in (2, 5, 24):
        chosen = [orders[0]]
        while len(chosen) < size:
            best, most = None, -1
            for order in orders:
                distance = sum(a != b for other in chosen for a, b in zip(order, other, strict=True))
                if order not in chosen and distance > most:
                    best, most = order, distance
            assert best is not None
            chosen.append(best)
        assert permutation_set.__wrapped__(size).tolist() == [list(order) for order in chosen]


def test_the_permutations_are_distinct_and_far_apart() -> None:
    """The default 64 permutations are permutations of nine tiles, all different, far apart, and always the same."""
    orders = permutation_set(64)
    assert orders.dtype == np.int64
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(9), (64, 1)))
    assert len({tuple(order) for order in orders.tolist()}) == 64
    assert orders[0].tolist() == list(range(9))
    distances = (orders[:, None] != orders).sum(2)[~np.eye(64, dtype=bool)]
    assert distances.mean() > 8  # two random orders differ in eight places on average
    assert np.array_equal(permutation_set.__wrapped__(3), orders[:3])


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """The head's input at position p is the tile that the permutation puts there; the target is its number."""
    torch.manual_seed(0)
    method = Jigsaw(ConvNet(32, width=4), TRAIN_INFO, permutations=6, gap=0.0).eval()
    for parameter in method.head.parameters():
        torch.nn.init.normal_(parameter)  # large enough that a wrong order shows
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(4)))
    torch.manual_seed(1)
    drawn = torch.randint(6, (4,)).tolist()
    crops = colour_jitter(
        random_resized_crops(images, scale=(method.crop, 1.0), flip=0.0), jitter=0.0, grey=method.grey
    )
    assert len(set(drawn)) > 1
    terms, right = [], []
    for image, target in zip(crops, drawn, strict=True):
        parts = []
        for tile in permutation_set(6)[target]:
            row, column = divmod(int(tile), 3)
            pixels = image[:, row * 10 : row * 10 + 10, column * 10 : column * 10 + 10]
            parts.append(method.encoder(normalised_patches(pixels).unsqueeze(0))[0])
        logits = method.head(torch.cat(parts).unsqueeze(0))[0].tolist()
        terms.append(math.log(sum(math.exp(z - max(logits)) for z in logits)) + max(logits) - logits[target])
        right.append(max(range(6), key=logits.__getitem__) == target)
    assert loss.item() == pytest.approx(sum(terms) / 4, rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 4)


def test_tiles_are_smaller_than_their_cells() -> None:
    """By default a quarter of a cell's side is left out; a tile has at least one pixel."""
    method = Jigsaw(ConvNet(32, width=4), TRAIN_INFO)
    assert (method.cell, method.tile) == (10, 8)
    assert Jigsaw(ConvNet(32, width=4), TRAIN_INFO, gap=0.99).tile == 1
