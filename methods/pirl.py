"""Pretext-invariant representations (PIRL): an image and its jigsaw tiles must have similar embeddings.

Misra and van der Maaten, "Self-Supervised Learning of Pretext-Invariant
Representations", CVPR 2020. https://arxiv.org/abs/1912.01991

A pretext task asks how an image was transformed; here the embedding must be
invariant to the transformation. Nine tiles, encoded separately and projected
together, must find their image's embedding in a memory bank among ``negatives``
others. The whole image must find it too, so that the bank stays close to what the
encoder gives for images; ``patches`` is the weight of the tiles (lambda, equation
5). Each tile is augmented separately.

Where we differ: each tile is cut at a random place in one cell of a 3 x 3 grid over
a random crop, as in jigsaw. The first epoch only fills the bank, which contains
random vectors before. Views are not posterised, sharpened or solarised; in the
authors' code two thirds of them are. Runs shorter than the paper's have fewer
negatives and a higher temperature.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, Positive, Share, ShareBelowOne, TrainInfo, augment

from ._bank import Bank
from ._contrast import answers_in_first_column, info_nce, nearest_panel
from ._heads import spread
from ._tiles import GRID, TILES, cut_tiles, join_tiles


class PIRL(Method):
    """Contrasts both an image's tiles and the whole image with its vector in the memory bank."""

    year = 2020
    kind = "contrastive"
    short_run_settings: ClassVar = {"negatives": 2048, "temperature": 0.1}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        negatives: Count | None = 32000,
        temperature: Positive = 0.07,
        momentum: ShareBelowOne = 0.5,  # of the bank
        patches: Share = 0.5,
        gap: ShareBelowOne = 0.25,  # of a cell's side, by which its tile is smaller
        dim: Annotated[int, Ge(2)] = 128,
    ) -> None:
        super().__init__(encoder, train_info)
        self.negatives, self.temperature, self.patches = negatives, temperature, patches
        self.cell = train_info.image_size // GRID
        self.tile = max(1, round(self.cell * (1 - gap)))
        self.view_size = self.tile
        self.views_per_image = 1 + TILES * (self.tile / train_info.image_size) ** 2
        self.f = nn.Linear(encoder.dim, dim)
        self.each = nn.Linear(encoder.dim, dim)
        self.together = nn.Linear(TILES * dim, dim)
        self.bank, self.epochs_before_gradient = Bank(train_info.num_images, dim, momentum), 1.0

    def loss(self, batch: Batch) -> Tensor:
        """lambda L_NCE(bank, tiles) + (1 - lambda) L_NCE(bank, image) (equation 5), with the same negatives."""
        f, g = self.embed(draw_views(batch.images)), self.embed_tiles(self.draw_tiles(batch.images))
        places = self.bank.draw_from_others(batch.indices, self.negatives)
        whole, tiles = (self.bank.cosines(z, batch.indices, places) / self.temperature for z in (f, g))
        info_nce(tiles.detach(), answers_in_first_column(tiles), self.logged)
        self.logged["spread"] = spread(f)
        self.newest = batch.indices, f.detach()
        return self.patches * nce(tiles) + (1 - self.patches) * nce(whole)

    def draw_tiles(self, images: Tensor) -> Tensor:
        """Nine tiles (N, 9, 3, s, s) of a crop of each image, in random order, each augmented separately."""
        tiles = cut_tiles(augment.random_resized_crops(images, scale=(0.6, 1.0), flip=0.0), self.cell, self.tile)
        order = torch.rand(tiles.shape[:2], device=tiles.device).argsort(1)
        tiles = tiles[torch.arange(len(tiles), device=tiles.device).unsqueeze(1), order]
        return augment.colour_jitter(augment.random_flip(tiles.flatten(0, 1)), hue=0.2).reshape(tiles.shape)

    def embed(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors f (N, dim)."""
        return F.normalize(self.f(self.encoder(views)).float(), dim=1)

    def embed_tiles(self, tiles: Tensor) -> Tensor:
        """Tiles (N, 9, 3, s, s) -> unit vectors g (N, dim): each tile is projected, then all nine together."""
        each = self.each(self.encoder(tiles.flatten(0, 1)))
        return F.normalize(self.together(each.view(len(tiles), -1)).float(), dim=1)

    def after_step(self, progress: float) -> None:
        """Updates the bank with the embeddings of the whole images, not of their tiles."""
        self.bank.update(*self.newest)

    def panels(self, batch: Batch) -> list[Panel]:
        """A view and the tiles of each image, with their own image's rank in the bank, and the nearest other image."""
        views, tiles = draw_views(batch.images), self.draw_tiles(batch.images)
        f, g = self.embed(views), self.embed_tiles(tiles)
        return [
            Panel(title="view", images=views, captions=self.bank.rank_captions(f, batch.indices)),
            Panel(
                title="tiles: of which image?",
                images=join_tiles(tiles),
                captions=self.bank.rank_captions(g, batch.indices),
            ),
            nearest_panel(batch.images, f),
        ]


def draw_views(images: Tensor) -> Tensor:
    """One view of each whole image, as in the authors' code: crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return augment.colour_jitter(augment.random_resized_crops(images, scale=(0.08, 1.0)), hue=0.2)


def nce(logits: Tensor) -> Tensor:
    """Logits (N, 1 + m), the matching one first -> -log h - sum of log (1 - h'), h the softmax (equations 3 and 4)."""
    log_h = logits.log_softmax(1)
    return -(log_h[:, 0] + torch.log1p(-log_h[:, 1:].exp().clamp(max=1 - 1e-6)).sum(1)).mean()
