"""A memory bank: each train image's embedding from when it was last seen (Wu et al. 2018, section 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import distributed, without_autocast


class Bank(nn.Module):
    """One unit vector per image, which is random until the image is first seen."""

    vectors: Tensor  # (images, dim)
    seen: Tensor  # bool (images,)

    def __init__(self, images: int, dim: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("vectors", F.normalize(torch.randn(images, dim), dim=1))
        self.register_buffer("seen", torch.zeros(images, dtype=torch.bool))

    @torch.no_grad()
    def update(self, indices: Tensor, embeddings: Tensor) -> None:
        """v <- m v + (1 - m) f, normalised, for the images int64 (N,) of all processes; f are unit vectors (N, dim).

        An image that is seen for the first time gets f itself; else a part of the random vector would stay for epochs.
        """
        indices, embeddings = distributed.gather(indices), distributed.gather(embeddings.detach())
        before = torch.where(self.seen[indices].unsqueeze(1), self.vectors[indices], embeddings)
        self.vectors[indices] = F.normalize(torch.lerp(embeddings, before, self.momentum), dim=1)
        self.seen[indices] = True

    def draw_from_all(self, indices: Tensor, m: int) -> Tensor:
        """Draws m images uniformly from all, the image itself included, for each image (N,): int64 (N, m)."""
        return torch.randint(len(self.vectors), (len(indices), m), device=indices.device)

    def draw_from_others(self, indices: Tensor, m: int | None) -> Tensor:
        """Draws m images uniformly from all others for each image (N,); None takes each other once: int64 (N, m)."""
        n, device = len(self.vectors), indices.device
        steps = (
            torch.arange(1, n, device=device) if m is None else torch.randint(1, n, (len(indices), m), device=device)
        )
        return (indices.unsqueeze(1) + steps) % n

    def cosines(self, queries: Tensor, indices: Tensor, places: Tensor | None = None) -> Tensor:
        """Cosines of unit queries (N, dim) with their images' own vectors and those at ``places`` (N, m): (N, 1 + m).

        Without ``places``, with all vectors in order: (N, images). An image that is not seen yet sends no gradient,
        because its own vector is still random. So the first epoch only fills the bank.
        """
        queries = torch.where(self.seen[indices].unsqueeze(1), queries, queries.detach())
        if places is not None:
            places = torch.cat([indices.unsqueeze(1), places], dim=1)
        return inner_products_at(queries, self.vectors, places)

    def rank_captions(self, queries: Tensor, indices: Tensor) -> tuple[str, ...]:
        """Captions for unit queries (N, dim): the rank of the query's own image among all images, and their cosine."""
        cosines = inner_products_at(queries, self.vectors)
        own = cosines.gather(1, indices.unsqueeze(1))
        pairs = zip(((cosines > own).sum(1) + 1).tolist(), own.flatten().tolist(), strict=True)
        return tuple(f"own image: rank {r:,} of {len(self.vectors):,}\ncosine {c:.2f}" for r, c in pairs)


@without_autocast
def inner_products_at(queries: Tensor, vectors: Tensor, places: Tensor | None = None) -> Tensor:
    """Inner products of queries (N, dim) with the vectors (n, dim) at places int64 (N, K): (N, K); of all: (N, n).

    All N n products are computed if they are fewer numbers than the N K dim of the vectors that would be gathered.
    """
    if places is None:
        return queries @ vectors.T
    if len(vectors) <= places.shape[1] * vectors.shape[1]:
        return (queries @ vectors.T).gather(1, places)
    return torch.einsum("nd,nkd->nk", queries, vectors[places])
