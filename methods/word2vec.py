"""Skip-gram on patches (word2vec): tell a patch's neighbours from patches drawn from other images.

Mikolov, Sutskever, Chen, Corrado and Dean, "Distributed Representations of Words
and Phrases and their Compositionality", NIPS 2013. https://arxiv.org/abs/1310.4546

A patch is a word and its image the sentence. The vector v of a patch is to
score high with the context vectors u of its neighbours and low with those of
negatives (equation 4). The best constant answer costs log(1 + K) + K log(1 + 1/K).

Where we differ: an encoder and two linear layers stand for the tables of v and u,
and every patch is as frequent as any other. Patches of an image share its colours
and light, which would tell them with no look at what they show: so each keeps one
colour channel, drawn by itself (``colour``), and there are gaps between them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._heads import spread
from ._patches import GREEN, SHOWN, YELLOW, framed, laid_out, magnified, neighbours, squares, uncoloured


class Word2Vec(Method):
    """Scores a grid's patches by the product of a centre's vector and a context's."""

    pairs: Tensor  # int64 (2, Q), the places in the grid of each centre and of its neighbour
    short_run_settings: ClassVar = {"dim": 64}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        negatives: int = 15,
        window: int = 1,
        dim: int = 300,
        grid: int = 3,
        gap: float = 0.25,
        colour: Literal["drop", "keep"] = "drop",
    ) -> None:
        super().__init__(encoder, facts)
        require(negatives >= 1, "word2vec.negatives", negatives, "at least 1")
        require(window >= 1, "word2vec.window", window, "at least 1")
        require(dim >= 1, "word2vec.dim", dim, "at least 1")
        require(2 <= grid <= facts.image_size, "word2vec.grid", grid, "at least 2, at most the image's side")
        require(0 <= gap < 1, "word2vec.gap", gap, "a share of a cell's side, from 0 to below 1")
        require(colour in ("drop", "keep"), "word2vec.colour", colour, "drop or keep")
        self.negatives, self.grid, self.colour = negatives, grid, colour
        self.cell = facts.image_size // grid
        self.patch = max(1, round(self.cell * (1 - gap)))
        self.view_size = self.patch
        self.views_per_image = (grid * self.patch / facts.image_size) ** 2
        self.register_buffer("pairs", torch.tensor(neighbours(grid, window)).T.contiguous(), persistent=False)
        self.word, self.context = nn.Linear(encoder.dim, dim), nn.Linear(encoder.dim, dim)

    def loss(self, batch: Batch) -> Tensor:
        """-log s(u_o v_c) - sum over k of log s(-u_k v_c), averaged over all pairs of neighbours of all images."""
        v, u = self.vectors(uncoloured(squares(*self.parts(batch.images), self.patch), self.colour))
        scores, item, (centres, contexts) = products(v, u), torch.arange(len(v), device=v.device), self.pairs
        true = scores[item, :, item][:, centres, contexts]  # (N, Q)
        shift = torch.randint(1, max(2, len(v)), (*true.shape, self.negatives), device=v.device)
        drawn = torch.randint(self.grid**2, shift.shape, device=v.device)
        item = item.view(-1, 1, 1)
        false = scores[item, centres.unsqueeze(1), (item + shift) % len(v), drawn]  # (N, Q, K), other images'
        self.logged["accuracy"] = (true.unsqueeze(2) > false).float().mean()
        self.logged["spread"] = spread(v.flatten(0, 1))
        return -(F.logsigmoid(true) + F.logsigmoid(-false).sum(2)).mean()

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The images, mirrored or not, and top and left (N, P) of their patches, each at random within its cell."""
        cells = torch.arange(self.grid**2, device=images.device)
        moved = torch.randint(self.cell - self.patch + 1, (2, len(images), len(cells)), device=images.device)
        top, left = cells // self.grid * self.cell + moved[0], cells % self.grid * self.cell + moved[1]
        return augment.flip_some(augment.floats(images)), top, left

    def vectors(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, P, 3, s, s) -> the vectors that they have as centres and as contexts, (N, P, dim) each."""
        embeddings = self.encoder(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        return self.word(embeddings).float(), self.context(embeddings).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """The grid's middle patch in its image, and the patches of the whole batch that score highest as neighbours."""
        images, top, left = self.parts(batch.images)
        patches = squares(images, top, left, self.patch)
        N, P, middle = len(images), self.grid**2, self.grid // 2 * (self.grid + 1)
        item, times = torch.arange(N, device=images.device).unsqueeze(1), max(1, SHOWN // images.shape[-1])
        v, u = self.vectors(views := uncoloured(patches, self.colour))
        scores = products(v[:, middle : middle + 1], u).view(N, N * P)
        scores[item, item * P + middle] = -torch.inf  # it is not its own neighbour
        best = scores.topk(min(8, (N * P - 1) // 2 * 2)).indices
        near = self.pairs[1, self.pairs[0] == middle]
        own = (best // P == item) & torch.isin(best % P, near)
        picture = magnified(images, times)
        for place in (*near.tolist(), middle):
            colour, y, x = YELLOW if place == middle else GREEN, times * top[:, place], times * left[:, place]
            picture = framed(picture, y, x, times * self.patch, colour)
        return [
            Panel(title="patch and neighbours", images=picture),
            Panel(title="as seen", images=laid_out(views, self.grid)),
            Panel(
                title="likeliest neighbours, best first",
                images=laid_out(patches.flatten(0, 1)[best], best.shape[1] // 2, own),
                captions=tuple(f"{n} of {len(near)} true among {N * P - 1}" for n in own.sum(1).tolist()),
            ),
        ]


def products(v: Tensor, u: Tensor) -> Tensor:
    """Vectors (N, P, dim) and (M, Q, dim) -> all products u v (N, P, M, Q)."""
    with torch.autocast(v.device.type, enabled=False):
        return torch.einsum("npd,mqd->npmq", v, u)
