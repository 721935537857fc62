"""Jigsaw puzzles: recognise the permutation in which an image's nine tiles are shuffled.

Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving
Jigsaw Puzzles", ECCV 2016. https://arxiv.org/abs/1603.09246

To find the place of a tile the network must recognise what the tile shows. Shortcuts
are prevented as in section 4.2: there are gaps between the tiles, each tile is at a
random place within its cell and is normalised separately, and some images are grey. The
permutations are chosen for a large Hamming distance (algorithm 1). The nine tiles
together count as one view of the budget.

Images are cropped at random scales first. Otherwise the 8 x 8 pixel blocks of JPEG would
reveal the places of small tiles, and nothing would be learned.

Where we differ: ``permutations`` defaults to 64, where the paper uses up to 1000; the
greedy choice starts at the identity, so that the set is always the same; one hidden
layer of ``hidden`` units replaces fc7 and fc8.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations as all_permutations
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, Share, ShareBelowOne, TrainInfo, augment

from ._patches import normalised_patches
from ._tiles import GRID, TILES, cut_tiles, join_tiles


class Jigsaw(Method):
    """Encodes the tiles separately, joins their embeddings in shuffled order and classifies the permutation."""

    year = 2016
    kind = "pretext task"
    permutations: Tensor  # int64 (K, 9)
    short_run_settings: ClassVar = {"crop": 0.4}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        permutations: Annotated[int, Interval(ge=2, le=1000)] = 64,
        gap: ShareBelowOne = 0.25,  # share of a cell's side
        crop: PositiveShare = 0.77,
        grey: Share = 0.3,
        hidden: Count = 512,
        flip: Share = 0.0,
    ) -> None:
        super().__init__(encoder, train_info)
        cell = train_info.image_size // GRID
        self.cell, self.tile, self.flip = cell, max(1, round(cell * (1 - gap))), flip
        self.crop, self.grey = crop, grey
        self.view_size = self.tile
        self.register_buffer("permutations", torch.from_numpy(permutation_set(permutations)), persistent=False)
        self.head = nn.Sequential(
            nn.Linear(TILES * encoder.dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, permutations),
        )

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of each image's permutation."""
        N = len(batch.images)
        drawn = torch.randint(len(self.permutations), (N,), device=batch.images.device)
        tiles = cut_tiles(self.draw_crops(batch.images), self.cell, self.tile)
        embeddings = self.encoder(normalised_patches(tiles).flatten(0, 1)).view(N, TILES, -1)
        shuffled = embeddings.gather(1, self.permutations[drawn].unsqueeze(-1).expand_as(embeddings))
        logits = self.head(shuffled.flatten(1))
        self.logged["accuracy"] = (logits.argmax(1) == drawn).float().mean()
        return F.cross_entropy(logits, drawn)

    def draw_crops(self, images: Tensor) -> Tensor:
        """A random crop of each image, some of them grey, from which the tiles are cut: floats (N, 3, S, S)."""
        crops = augment.random_resized_crops(images, scale=(self.crop, 1.0), flip=self.flip)
        return augment.colour_jitter(crops, jitter=0.0, grey=self.grey)

    def panels(self, batch: Batch) -> list[Panel]:
        """A crop of each image, its tiles shuffled, and the tiles put back by the predicted permutation."""
        item = torch.arange(len(batch.images), device=batch.images.device).unsqueeze(1)
        drawn = torch.randint(len(self.permutations), (len(item),), device=item.device)
        crops = self.draw_crops(batch.images)
        tiles = normalised_patches(cut_tiles(crops, self.cell, self.tile))[item, self.permutations[drawn]]
        embeddings = self.encoder(tiles.flatten(0, 1)).view(len(item), -1)
        shares, predicted = self.head(embeddings).float().softmax(1).max(1)
        results = zip((predicted == drawn).tolist(), shares.tolist(), strict=True)
        return [
            Panel(title="crop of an image", images=crops),
            Panel(title="its tiles, shuffled", images=join_tiles(tiles)),
            Panel(
                title="put back as predicted",
                images=join_tiles(tiles[item, self.permutations[predicted].argsort(1)]),
                captions=tuple(f"{'right' if right else 'wrong'}, {share:.0%}" for right, share in results),
            ),
        ]


@cache
def permutation_set(size: int) -> np.ndarray:
    """int64 (size, 9): each next permutation has the largest sum of Hamming distances to the others (algorithm 1)."""
    candidates = np.array(list(all_permutations(range(TILES))), dtype=np.int8)
    chosen = [0]
    distance = np.zeros(len(candidates), dtype=np.int64)
    while len(chosen) < size:
        distance += (candidates != candidates[chosen[-1]]).sum(1)
        distance[chosen[-1]] = -(10**9)  # never chosen again
        chosen.append(int(distance.argmax()))
    return candidates[chosen].astype(np.int64)
