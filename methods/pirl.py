"""Pretext-invariant representations (PIRL): an image's jigsaw tiles must embed like the image.

Misra and van der Maaten, "Self-Supervised Learning of Pretext-Invariant
Representations", CVPR 2020. https://arxiv.org/abs/1912.01991

A pretext task asks what was done to an image; here the embedding must not tell.
Nine tiles, each encoded by itself and all projected together, must find their
image in a memory bank among ``negatives`` others, and lest the bank move away
from what the image itself embeds to, so must the whole image; ``patches`` is the
weight of the tiles (lambda, equation 5). Each tile is varied by itself.

Where we differ: tiles lie at random within a third of the part that is cut, at
its own scale, as in jigsaw. The first epoch only fills the bank, since there is
nothing but random vectors to find in it. Views are not posterised, sharpened or
solarised, as in the authors' code two thirds are. Runs shorter than the paper's have
fewer negatives and a higher temperature.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._bank import Bank
from ._contrast import first_right, info_nce, nearest_panel
from ._heads import spread
from ._tiles import GRID, TILES, cut, joined


class PIRL(Method):
    """Contrasts an image's tiles, and the image, with its place in the memory bank."""

    checkpoints: ClassVar = {
        "vissl_200ep": {
            "url": (
                "vissl:pirl_jigsaw_4node_200ep_pirl_jigsaw_4node_resnet_22_07_20.ffd17b75/"
                "model_final_checkpoint_phase199.torch"
            ),
            "linear": 0.6255,
        },
        "vissl_800ep": {
            "url": (
                "vissl:pirl_jigsaw_4node_pirl_jigsaw_4node_resnet_22_07_20.34377f59/"
                "model_final_checkpoint_phase799.torch"
            ),
            "linear": 0.6429,
        },
        "vissl_800ep_mlp": {
            "url": "vissl:pirl/r50_800ep_mlphead_gblur/model_final_checkpoint_phase799.torch",
            "linear": 0.699,
            "source": "https://github.com/facebookresearch/vissl/blob/main/projects/PIRL/README.md",
        },
    }
    short_run_settings: ClassVar = {"negatives": 2048, "temperature": 0.1}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        negatives: int | None = 32000,
        temperature: float = 0.07,
        momentum: float = 0.5,
        patches: float = 0.5,
        gap: float = 0.25,
        dim: int = 128,
    ) -> None:
        super().__init__(encoder, facts)
        require(negatives is None or negatives >= 1, "pirl.negatives", negatives, "at least 1, or None for all")
        require(temperature > 0, "pirl.temperature", temperature, "above 0")
        require(0 <= momentum < 1, "pirl.momentum", momentum, "from 0 to below 1")
        require(0 <= patches <= 1, "pirl.patches", patches, "a share, from 0 to 1")
        require(0 <= gap < 1, "pirl.gap", gap, "a share of a cell's side, from 0 to below 1")
        require(dim >= 2, "pirl.dim", dim, "at least 2")
        self.negatives, self.temperature, self.patches = negatives, temperature, patches
        self.cell = facts.image_size // GRID
        self.tile = max(1, round(self.cell * (1 - gap)))
        self.view_size = self.tile
        self.views_per_image = 1 + TILES * (self.tile / facts.image_size) ** 2
        self.f = nn.Linear(encoder.dim, dim)
        self.each = nn.Linear(encoder.dim, dim)
        self.together = nn.Linear(TILES * dim, dim)
        self.bank = Bank(facts.images, dim, momentum)

    def loss(self, batch: Batch) -> Tensor:
        """lambda L_NCE(bank, tiles) + (1 - lambda) L_NCE(bank, image) (equation 5), with the same negatives."""
        f, g = self.embedded(view(batch.images)), self.rejoined(self.tiles(batch.images))
        places = self.bank.any_other(batch.indices, self.negatives)
        whole, tiles = (self.bank.scores(z, batch.indices, places) / self.temperature for z in (f, g))
        info_nce(tiles.detach(), first_right(tiles), self.logged)
        self.logged["spread"] = spread(f)
        self.newest = batch.indices, f.detach()
        return self.patches * nce(tiles) + (1 - self.patches) * nce(whole)

    def tiles(self, images: Tensor) -> Tensor:
        """Nine tiles (N, 9, 3, s, s) of a part of each image, in random order, each varied by itself."""
        tiles = cut(augment.resized_crops(images, scale=(0.6, 1.0), flip=0.0), self.cell, self.tile)
        order = torch.rand(tiles.shape[:2], device=tiles.device).argsort(1)
        tiles = tiles[torch.arange(len(tiles), device=tiles.device).unsqueeze(1), order]
        return augment.recoloured(augment.flip_some(tiles.flatten(0, 1)), hue=0.2).unflatten(0, (-1, TILES))

    def embedded(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors f (N, dim)."""
        return F.normalize(self.f(self.encoder(views)).float(), dim=1)

    def rejoined(self, tiles: Tensor) -> Tensor:
        """Tiles (N, 9, 3, s, s) -> unit vectors g (N, dim): each projected, then all of them together."""
        each = self.each(self.encoder(tiles.flatten(0, 1)))
        return F.normalize(self.together(each.view(len(tiles), -1)).float(), dim=1)

    def after_step(self, progress: float) -> None:
        """The batch's images, not their tiles, enter the bank."""
        self.bank.update(*self.newest)

    def panels(self, batch: Batch) -> list[Panel]:
        """A view of each image, its tiles with their image's rank in the bank, and the image nearest to them."""
        views, tiles = view(batch.images), self.tiles(batch.images)
        f, g = self.embedded(views), self.rejoined(tiles)
        return [
            Panel(title="a view", images=views, captions=self.bank.ranks(f, batch.indices)),
            Panel(title="tiles: of which image?", images=joined(tiles), captions=self.bank.ranks(g, batch.indices)),
            nearest_panel(batch.images, f),
        ]


def view(images: Tensor) -> Tensor:
    """The authors' views of the whole image: crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return augment.recoloured(augment.resized_crops(images, scale=(0.08, 1.0)), hue=0.2)


def nce(logits: Tensor) -> Tensor:
    """Logits (N, 1 + m), the right one first -> -log h - sum of log (1 - h'), h the softmax (equations 3 and 4)."""
    log_h = logits.log_softmax(1)
    return -(log_h[:, 0] + torch.log1p(-log_h[:, 1:].exp().clamp(max=1 - 1e-6)).sum(1)).mean()
