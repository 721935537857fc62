"""Clusters of all train images as labels (DeepCluster).

Embeddings are remembered during training and clustered at regular intervals.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import distributed, without_autocast

from ._contrast import pairwise_products

ROWS = 8192  # vectors that are compared with all centroids at once, to bound the memory


class Clusterings(nn.Module):
    """One clustering of all images per head, with ``clusters[head]`` clusters, of the embeddings of their latest views.

    The centroids serve as the rows of each head's classifier.
    """

    memory: Tensor  # (2, images, dim), unit vectors of the latest first and second views; zero until an image is seen
    assignments: Tensor  # int64 (heads, images); -1 until an image is clustered
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
        """Vectors (N, dim) -> their inner products with each head's centroids, (N, K) per head."""
        return torch.split(pairwise_products(z, self.centroids), self.clusters, dim=1)

    @torch.no_grad()
    def update(self, indices: Tensor, z: Tensor) -> None:
        """Stores both views' embeddings (2, N, dim) of the images (N,) of all processes; clusters if it is time."""
        indices, z = distributed.gather(indices), distributed.gather(z.transpose(0, 1).contiguous()).transpose(0, 1)
        self.memory[:, indices] = z.to(self.memory.dtype)
        self.steps += 1
        if self.steps % max(1, int(self.period / len(indices))) == 0:
            self.cluster_memory()

    @torch.no_grad()
    def cluster_memory(self) -> None:
        """Clusters all images for every head: even heads by their first views, odd heads by their second views."""
        centroids = []
        for head, K in enumerate(self.clusters):
            vectors = self.memory[head % 2]
            first = distributed.gather(draw_initial_centroids(vectors, K))[:K]  # those of the first process
            centroids.append(spherical_k_means(vectors, first, self.iterations))
            self.assignments[head] = torch.where(vectors.any(1), nearest_centroids(vectors, centroids[-1]), -1)
        self.centroids.copy_(torch.cat(centroids))

    def get_extra_state(self) -> Tensor:
        """Number of steps done. It is not a buffer, because branching on one would wait for the GPU."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)


def draw_initial_centroids(vectors: Tensor, clusters: int) -> Tensor:
    """Draws nonzero rows of vectors (n, dim) without replacement: (clusters, dim), zeros if there are too few."""
    lots = torch.rand(len(vectors), device=vectors.device) + vectors.any(1)
    return vectors[lots.topk(clusters).indices]


@without_autocast
def spherical_k_means(vectors: Tensor, centroids: Tensor, iterations: int) -> Tensor:
    """Vectors (n, dim) and initial centroids (K, dim) -> centroids (K, dim), unit vectors.

    In each iteration a centroid becomes the direction of its cluster's mean; an empty cluster keeps its centroid.
    Sums are matrix products because these, unlike scattered sums on a GPU, are always added in the same order.
    """
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        for rows in torch.split(vectors, ROWS):
            members = F.one_hot(nearest_centroids(rows, centroids), len(centroids)).to(rows.dtype)
            sums += members.T @ rows
        centroids = torch.where(sums.any(1, keepdim=True), F.normalize(sums, dim=1), centroids)
    return centroids


@without_autocast
def nearest_centroids(vectors: Tensor, centroids: Tensor) -> Tensor:
    """Index of the centroid (K, dim) with the largest inner product for each vector (n, dim): int64 (n,)."""
    return torch.cat([(rows @ centroids.T).argmax(1) for rows in torch.split(vectors, ROWS)])
