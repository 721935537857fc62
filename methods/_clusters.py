"""Clusters of all train images as labels: a memory of embeddings that is clustered every so often (DeepCluster)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import augment, distributed

from ._contrast import products

ROWS = 8192  # vectors that are compared with all centroids at once


class Clusterings(nn.Module):
    """Several clusterings of the images, each into as many clusters as ``clusters`` says, from their last two views."""

    memory: Tensor  # (2, images, dim), unit vectors of the last first and second views; zero until seen
    assignments: Tensor  # int64 (heads, images); -1 until clustered
    centroids: Tensor  # (clusters of all heads, dim), unit vectors

    def __init__(self, images: int, dim: int, clusters: tuple[int, ...], epochs: float, iterations: int) -> None:
        super().__init__()
        self.clusters = [min(K, images) for K in clusters]
        self.period, self.iterations = epochs * images, iterations
        self.steps = 0
        self.register_buffer("memory", torch.zeros(2, images, dim))
        self.register_buffer("assignments", torch.full((len(clusters), images), -1))
        self.register_buffer("centroids", F.normalize(torch.randn(sum(self.clusters), dim), dim=1))

    def forward(self, z: Tensor) -> tuple[Tensor, ...]:
        """Vectors (N, dim) -> their products with each head's centroids (N, K)."""
        return products(z, self.centroids).split(self.clusters, dim=1)

    @torch.no_grad()
    def update(self, indices: Tensor, z: Tensor) -> None:
        """Remembers both views (2, N, dim) of the images (N,) of every process; after each period, clusters anew."""
        indices, z = distributed.gather(indices), distributed.gather(z.transpose(0, 1).contiguous()).transpose(0, 1)
        self.memory[:, indices] = z.to(self.memory.dtype)
        self.steps += 1
        if self.steps % max(1, int(self.period / len(indices))) == 0:
            self.cluster()

    @torch.no_grad()
    def cluster(self) -> None:
        """Clusters the memory for each head, of first and second views by turns."""
        found = []
        for head, K in enumerate(self.clusters):
            vectors = self.memory[head % 2]
            first = distributed.gather(seeds(vectors, K))[:K]  # those of the first process
            found.append(spherical_k_means(vectors, first, self.iterations))
            self.assignments[head] = torch.where(vectors.any(1), assigned(vectors, found[-1]), -1)
        self.centroids.copy_(torch.cat(found))

    def get_extra_state(self) -> Tensor:
        """Steps done: a number of Python's, since to branch on a buffer is to wait for the device at each step."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)


def seeds(vectors: Tensor, clusters: int) -> Tensor:
    """First centroids (clusters, dim): vectors (n, dim) drawn without replacement, zeros where no others are left."""
    lots = torch.rand(len(vectors), device=vectors.device) + vectors.any(1)
    return vectors[lots.topk(clusters).indices]


@augment.in_full_precision
def spherical_k_means(vectors: Tensor, centroids: Tensor, iterations: int) -> Tensor:
    """Vectors (n, dim), first centroids (K, dim) -> (K, dim): each the direction of its cluster's mean, by turns.

    An empty cluster keeps its centroid. Sums are matrix products, whose order, unlike that of scattered sums on a
    GPU, is always the same.
    """
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        for rows in vectors.split(ROWS):
            members = F.one_hot(assigned(rows, centroids), len(centroids)).to(rows.dtype)
            sums += members.T @ rows
        centroids = torch.where(sums.any(1, keepdim=True), F.normalize(sums, dim=1), centroids)
    return centroids


@augment.in_full_precision
def assigned(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Which centroid (K, dim) each vector (n, dim) has the largest product with, int64 (n,)."""
    return torch.cat([(rows @ centroids.T).argmax(1) for rows in vectors.split(ROWS)])
