"""A memory bank: for every train image the embedding it had when it was last seen (Wu et al. 2018, section 3.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import augment, distributed


class Bank(nn.Module):
    """Unit vectors (images, dim), random until an image is seen."""

    vectors: Tensor
    seen: Tensor  # bool (images,)

    def __init__(self, images: int, dim: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("vectors", F.normalize(torch.randn(images, dim), dim=1))
        self.register_buffer("seen", torch.zeros(images, dtype=torch.bool))

    @torch.no_grad()
    def update(self, indices: Tensor, embeddings: Tensor) -> None:
        """v <- m v + (1 - m) f, normalised, for the images int64 (N,) of every process; f are unit vectors (N, dim).

        A new image takes f as it is: half of a random vector would stay in it for epochs.
        """
        indices, embeddings = distributed.gather(indices), distributed.gather(embeddings.detach())
        before = torch.where(self.seen[indices].unsqueeze(1), self.vectors[indices], embeddings)
        self.vectors[indices] = F.normalize(torch.lerp(embeddings, before, self.momentum), dim=1)
        self.seen[indices] = True

    def any_of_all(self, indices: Tensor, m: int) -> Tensor:
        """For each image (N,) m drawn uniformly from all, itself included: int64 (N, m)."""
        return torch.randint(len(self.vectors), (len(indices), m), device=indices.device)

    def any_other(self, indices: Tensor, m: int | None) -> Tensor:
        """For each image (N,) m drawn uniformly from all others, or with None each of these once: int64 (N, m)."""
        n, device = len(self.vectors), indices.device
        steps = (
            torch.arange(1, n, device=device) if m is None else torch.randint(1, n, (len(indices), m), device=device)
        )
        return (indices.unsqueeze(1) + steps) % n

    def scores(self, queries: Tensor, indices: Tensor, places: Tensor | None = None) -> Tensor:
        """Cosines of the images' (N,) unit queries (N, dim) with their own vectors and those at the places (N, m).

        (N, 1 + m), or (N, images) for all in order. New images send no gradient: theirs is a random vector, and they
        would learn but to be told from those seen by when they are embedded. So the first epoch only fills the bank.
        """
        queries = torch.where(self.seen[indices].unsqueeze(1), queries, queries.detach())
        return products(queries, self.vectors, None if places is None else torch.cat([indices.unsqueeze(1), places], 1))

    def ranks(self, queries: Tensor, indices: Tensor) -> tuple[str, ...]:
        """Of each unit query (N, dim): its own image's rank in the bank by likeness, and their cosine, in words."""
        cosines = products(queries, self.vectors)
        own = cosines.gather(1, indices.unsqueeze(1))
        told = zip(((cosines > own).sum(1) + 1).tolist(), own.flatten().tolist(), strict=True)
        return tuple(f"its own: rank {rank:,} of {len(self.vectors):,}\ncosine {cosine:.2f}" for rank, cosine in told)


@augment.in_full_precision
def products(queries: Tensor, vectors: Tensor, places: Tensor | None = None) -> Tensor:
    """Queries (N, dim) times the vectors (n, dim) at the places int64 (N, K): (N, K), or (N, n) for all of them.

    All N n products are made where they are fewer numbers than the N K dim of the vectors that would be picked.
    """
    if places is None:
        return queries @ vectors.T
    if len(vectors) <= places.shape[1] * vectors.shape[1]:
        return (queries @ vectors.T).gather(1, places)
    return torch.einsum("nd,nkd->nk", queries, vectors[places])
