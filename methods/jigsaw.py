"""Jigsaw puzzles: say which permutation shuffled an image's nine tiles.

Noroozi and Favaro, "Unsupervised Learning of Visual Representations by Solving
Jigsaw Puzzles", ECCV 2016. https://arxiv.org/abs/1603.09246

Where a tile belongs is told by what it shows. Against shortcuts (section 4.2)
there are gaps between the tiles, each lies at random within its cell and is
normalised by itself, and some pictures are grey. The permutations are far apart
in Hamming distance (algorithm 1). Nine tiles are one view of the budget.

At small sizes the part that is cut must vary in scale: tiles of a few pixels
would tell where they are by the 8-pixel blocks of JPEG, and nothing be learned.

Where we differ: ``permutations`` defaults to 64 of the paper's up to 1000; the
greedy choice starts at the identity, so the set is the same for everybody; one
hidden layer of ``hidden`` units instead of fc7 and fc8.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations as orders
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._patches import alike
from ._tiles import GRID, TILES, cut, joined


class Jigsaw(Method):
    """Encodes each tile by itself, joins the embeddings in shuffled order, classifies the permutation."""

    checkpoints: ClassVar = {
        "vissl_rn50_100": {
            "url": (
                "vissl:jigsaw_rn50_in1k_ep105_perm2k_jigsaw_8gpu_resnet_17_07_20.db174a43/"
                "model_final_checkpoint_phase104.torch"
            ),
            "linear": 0.4857,
        },
        "vissl_rn50_2k": {
            "url": (
                "vissl:jigsaw_rn50_in1k_ep105_perm2k_jigsaw_8gpu_resnet_17_07_20.cccee144/"
                "model_final_checkpoint_phase104.torch"
            ),
            "linear": 0.4673,
        },
        "vissl_rn50_10k": {
            "url": (
                "vissl:jigsaw_rn50_in1k_ep105_perm2k_jigsaw_8gpu_resnet_20_07_20.3d706467/"
                "model_final_checkpoint_phase104.torch"
            ),
            "linear": 0.4811,
        },
        "goyal19_rn50": {
            "url": "vissl:converted_vissl_rn50_jigsaw_in1k_goyal19.torch",
            "linear": 0.4658,
        },
        "goyal19_alexnet": {
            "url": "vissl:converted_alexnet_jigsaw_in1k_pretext.torch",
            "encoder": "alexnet",
            "settings": {
                "widths": (96, 256, 384, 384, 256),
                "batch_norm": 3,
                "lrn": True,
                "groups": 2,
                "stride": 2,
                "padding": 0,
            },
            "input": {"size": 227, "crop": 0.8867},
        },
    }
    permutations: Tensor  # int64 (K, 9)
    short_run_settings: ClassVar = {"crop": 0.4}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        permutations: int = 64,
        gap: float = 0.25,
        crop: float = 0.77,
        grey: float = 0.3,
        hidden: int = 512,
        flip: float = 0.0,
    ) -> None:
        super().__init__(encoder, facts)
        require(2 <= permutations <= 1000, "jigsaw.permutations", permutations, "2 to 1000")
        require(0 <= gap < 1, "jigsaw.gap", gap, "a share of a cell's side, from 0 to below 1")
        require(0 < crop <= 1, "jigsaw.crop", crop, "a share of the area, above 0 to 1")
        require(0 <= grey <= 1, "jigsaw.grey", grey, "a probability")
        require(hidden >= 1, "jigsaw.hidden", hidden, "at least 1")
        require(0 <= flip <= 1, "jigsaw.flip", flip, "a probability")
        cell = facts.image_size // GRID
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
        tiles = cut(self.parts(batch.images), self.cell, self.tile)
        embeddings = self.encoder(alike(tiles).flatten(0, 1)).view(N, TILES, -1)
        shuffled = embeddings.gather(1, self.permutations[drawn].unsqueeze(-1).expand_as(embeddings))
        logits = self.head(shuffled.flatten(1))
        self.logged["accuracy"] = (logits.argmax(1) == drawn).float().mean()
        return F.cross_entropy(logits, drawn)

    def parts(self, images: Tensor) -> Tensor:
        """What the tiles are cut from: a part of each image, some of them grey."""
        return augment.recoloured(
            augment.resized_crops(images, scale=(self.crop, 1.0), flip=self.flip), jitter=0.0, grey=self.grey
        )

    def panels(self, batch: Batch) -> list[Panel]:
        """A part of each image, its tiles shuffled, and put back by the permutation thought likeliest."""
        item = torch.arange(len(batch.images), device=batch.images.device).unsqueeze(1)
        drawn = torch.randint(len(self.permutations), (len(item),), device=item.device)
        parts = self.parts(batch.images)
        tiles = alike(cut(parts, self.cell, self.tile))[item, self.permutations[drawn]]
        embeddings = self.encoder(tiles.flatten(0, 1)).view(len(item), -1)
        shares, said = self.head(embeddings).float().softmax(1).max(1)
        told = zip((said == drawn).tolist(), shares.tolist(), strict=True)
        return [
            Panel(title="part of an image", images=parts),
            Panel(title="its tiles shuffled: in which order?", images=joined(tiles)),
            Panel(
                title="put back by what it says",
                images=joined(tiles[item, self.permutations[said].argsort(1)]),
                captions=tuple(f"{'right' if right else 'wrong'}, {share:.0%}" for right, share in told),
            ),
        ]


@cache
def permutation_set(size: int) -> np.ndarray:
    """int64 (size, 9): greedily, the order whose Hamming distances to those chosen sum highest (algorithm 1)."""
    candidates = np.array(list(orders(range(TILES))), dtype=np.int8)
    chosen = [0]
    distance = np.zeros(len(candidates), dtype=np.int64)
    while len(chosen) < size:
        distance += (candidates != candidates[chosen[-1]]).sum(1)
        distance[chosen[-1]] = -(10**9)  # never again
        chosen.append(int(distance.argmax()))
    return candidates[chosen].astype(np.int64)
