"""Skip-gram on patches (word2vec): distinguish a patch's neighbours from patches of other images.

Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed Representations of Words
and Phrases and their Compositionality", NIPS 2013. https://arxiv.org/abs/1310.4546

A patch plays the part of a word, and its image that of the sentence. The vector v of
a patch must have a high inner product with the context vectors u of its neighbours,
and a low one with those of K negatives (equation 4). The lowest loss with a constant
score is log(1 + K) + K log(1 + 1/K).

Where we differ: an encoder and two linear layers replace the tables of v and u, and
all patches are equally frequent. Patches of the same image have similar colours and
lighting, which would identify them whatever they show; therefore each patch keeps
one random colour channel (``colour``), and there are gaps between patches.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, ShareBelowOne, TrainInfo, augment, require, without_autocast

from ._heads import spread
from ._patch_pictures import GREEN, YELLOW, outline_patches, patch_mosaic
from ._patches import cut_squares, neighbour_pairs, remove_colour


class Word2Vec(Method):
    """Scores pairs of patches in a grid by the inner product of their centre and context vectors."""

    year = 2013
    kind = "contrastive"
    pairs: Tensor  # int64 (2, Q), the places of each centre and its neighbour in the grid
    short_run_settings: ClassVar = {"dim": 64}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        negatives: Count = 15,
        window: Count = 1,  # neighbours are at most so many rows and columns apart
        dim: Count = 300,
        grid: Annotated[int, Ge(2)] = 3,  # patches per side
        gap: ShareBelowOne = 0.25,  # of a cell's side, by which its patch is smaller
        colour: Literal["drop", "keep"] = "drop",
    ) -> None:
        super().__init__(encoder, train_info)
        size = train_info.image_size
        require(grid <= size, "word2vec.grid", grid, f"at most the image's side, {size}")
        self.negatives, self.grid, self.colour = negatives, grid, colour
        self.cell = size // grid
        self.patch = max(1, round(self.cell * (1 - gap)))
        self.view_size = self.patch
        self.views_per_image = (grid * self.patch / size) ** 2
        self.register_buffer("pairs", torch.tensor(neighbour_pairs(grid, window)).T.contiguous(), persistent=False)
        self.word, self.context = nn.Linear(encoder.dim, dim), nn.Linear(encoder.dim, dim)

    def loss(self, batch: Batch) -> Tensor:
        """-log s(u_o v_c) - sum over k of log s(-u_k v_c), averaged over all pairs of neighbours (equation 4)."""
        v, u = self.embed(remove_colour(self.draw_patches(batch.images)[0], self.colour))
        scores, item, (centres, contexts) = score_all_pairs(v, u), torch.arange(len(v), device=v.device), self.pairs
        true = scores[item, :, item][:, centres, contexts]  # (N, Q)
        shift = torch.randint(1, max(2, len(v)), (*true.shape, self.negatives), device=v.device)
        place = torch.randint(self.grid**2, shift.shape, device=v.device)
        item = item.view(-1, 1, 1)
        false = scores[item, centres.unsqueeze(1), (item + shift) % len(v), place]  # (N, Q, K), of other images
        self.logged["accuracy"] = (true.unsqueeze(2) > false).float().mean()
        self.logged["spread"] = spread(v.flatten(0, 1))
        return -(F.logsigmoid(true) + F.logsigmoid(-false).sum(2)).mean()

    def draw_patches(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Patches (N, P, 3, s, s) at random places within their cells, the images, and the patches' top and left."""
        cells = torch.arange(self.grid**2, device=images.device)
        moved = torch.randint(self.cell - self.patch + 1, (2, len(images), len(cells)), device=images.device)
        top, left = cells // self.grid * self.cell + moved[0], cells % self.grid * self.cell + moved[1]
        images = augment.random_flip(augment.to_float(images))
        return cut_squares(images, top, left, self.patch), images, top, left

    def embed(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, P, 3, s, s) -> their vectors v as centres and u as contexts, (N, P, dim) each."""
        embeddings = self.encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        return self.word(embeddings).float(), self.context(embeddings).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """The middle patch and its neighbours, and the patches of the batch that score highest as its neighbours."""
        patches, images, top, left = self.draw_patches(batch.images)
        N, P, middle = len(images), self.grid**2, self.grid // 2 * (self.grid + 1)
        item = torch.arange(N, device=images.device).unsqueeze(1)
        v, u = self.embed(views := remove_colour(patches, self.colour))
        scores = score_all_pairs(v[:, middle : middle + 1], u).view(N, N * P)
        scores[item, item * P + middle] = -torch.inf  # a patch is not its own neighbour
        best = scores.topk(min(8, (N * P - 1) // 2 * 2)).indices
        near = self.pairs[1, self.pairs[0] == middle]
        own = (best // P == item) & torch.isin(best % P, near)
        outlines = [(top[:, n], left[:, n], GREEN) for n in near.tolist()] + [(top[:, middle], left[:, middle], YELLOW)]
        return [
            Panel(title="patch (yellow) and neighbours (green)", images=outline_patches(images, outlines, self.patch)),
            Panel(title="input patches", images=patch_mosaic(views, self.grid)),
            Panel(
                title="highest scores in the batch (green: neighbours)",
                images=patch_mosaic(patches.flatten(0, 1)[best], best.shape[1] // 2, own),
                captions=tuple(f"{n} of {len(near)} true, among {N * P - 1}" for n in own.sum(1).tolist()),
            ),
        ]


@without_autocast
def score_all_pairs(v: Tensor, u: Tensor) -> Tensor:
    """Vectors v (N, P, dim) and u (M, Q, dim) -> the inner product of each v with each u (N, P, M, Q)."""
    return torch.einsum("npd,mqd->npmq", v, u)
