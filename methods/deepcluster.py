"""DeepCluster: alternate between clustering the embeddings of all images and predicting each image's cluster.

Caron, Bojanowski, Joulin and Douze, "Deep Clustering for Unsupervised Learning
of Visual Features", ECCV 2018, https://arxiv.org/abs/1807.05520, in its second
form (Caron et al., SwAV, NeurIPS 2020, https://arxiv.org/abs/2006.09882).

Clusters serve as labels. In the second form the rows of each head's classifier are the
cluster centroids, so a new clustering needs no new classifier. The clusters come from
spherical k-means once per epoch, on embeddings that were remembered during training.
Both views of an image must be classified as the image's cluster.

Where we differ: no small crops. The first epoch only fills the memory, because an image
that has not been clustered sends no gradient. (The authors embed all images before the
first epoch.) Runs shorter than the paper's have fewer clusters, weaker colour jitter and
a narrower head.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor

from sslbench import Batch, Count, Encoder, Method, Panel, Positive, Share, TrainInfo

from ._clusters import Clusterings
from ._heads import mlp, spread
from ._views import SWAV, two_views, weaker_jitter


class DeepCluster(Method):
    """Classifies both views of an image by the image's cluster, once per head."""

    year = 2018
    kind = "clustering"
    views_per_image = 2.0
    short_run_settings: ClassVar = {"clusters": (32, 64, 128), "strength": 0.5, "hidden": 512}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        clusters: Annotated[tuple[Annotated[int, Ge(2)], ...], MinLen(1)] = (3000, 3000, 3000),  # per head
        every: Positive = 1.0,  # epochs between clusterings
        iterations: Count = 10,
        temperature: Positive = 0.1,
        strength: Share = 1.0,  # of the authors' colour jitter
        hidden: Count = 2048,
        dim: Annotated[int, Ge(2)] = 128,
    ) -> None:
        super().__init__(encoder, train_info)
        self.temperature, self.augmentation = temperature, weaker_jitter(SWAV, strength)
        self.head = mlp(encoder.dim, hidden, dim)
        self.epochs_before_gradient = every
        self.clusterings = Clusterings(train_info.num_images, dim, clusters, every, iterations)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the image's cluster, averaged over views and heads."""
        z = self.embed(two_views(batch.images, self.augmentation))
        clusters = self.clusterings.assignments[:, batch.indices].repeat(1, 2)  # (heads, 2 N)
        self.newest = batch.indices, z.detach().view(2, len(batch.images), -1)
        self.logged["spread"] = spread(z)
        z = torch.where(clusters[0].unsqueeze(1) < 0, z.detach(), z)
        heads = list(zip(self.clusterings(z), clusters.clamp_min(0), strict=True))
        self.logged["accuracy"] = torch.stack([(s.argmax(1) == labels) for s, labels in heads]).float().mean()
        return torch.stack([F.cross_entropy(s / self.temperature, labels) for s, labels in heads]).mean()

    def embed(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors z (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def after_step(self, progress: float) -> None:
        """Stores the embeddings of both views; clusters all images again after every ``every`` epochs."""
        self.clusterings.update(*self.newest)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image with its cluster, a view with its predicted cluster, and the nearest image of the same cluster."""
        views = two_views(batch.images, self.augmentation)[: len(batch.images)]
        z, clusters = self.embed(views), self.clusterings.assignments[0, batch.indices]
        probabilities, predicted = (self.clusterings(z)[0] / self.temperature).softmax(1).max(1)
        same = (clusters.unsqueeze(1) == clusters).float()
        # Adding 4 ranks images of the same cluster first; -2, below every cosine, ranks the image itself last.
        best, nearest = (z @ z.T + 4 * same).fill_diagonal_(-2).max(1)
        return [
            Panel(
                title="image",
                images=batch.images,
                captions=tuple(f"cluster {k}" if k >= 0 else "no cluster yet" for k in clusters.tolist()),
            ),
            Panel(
                title="view: predicted cluster",
                images=views,
                captions=tuple(
                    f"cluster {k}, {p:.0%}" for k, p in zip(predicted.tolist(), probabilities.tolist(), strict=True)
                ),
            ),
            Panel(
                title="nearest image of the same cluster",
                images=batch.images[nearest],
                captions=tuple(
                    f"cosine {b - 4:.2f}" if b > 2 else "other cluster: none left in this one" for b in best.tolist()
                ),
            ),
        ]
