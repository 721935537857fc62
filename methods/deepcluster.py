"""DeepCluster: cluster the embeddings of all images, then predict each image's cluster, by turns.

Caron, Bojanowski, Joulin and Douze, "Deep Clustering for Unsupervised Learning
of Visual Features", ECCV 2018, https://arxiv.org/abs/1807.05520, in its second
form (Caron et al., SwAV, NeurIPS 2020, https://arxiv.org/abs/2006.09882).

Clusters serve as labels. In the second form the rows of each head's classifier
are the centroids themselves, so none is learned anew after a clustering, and what
is clustered, once an epoch by spherical k-means, is a memory of the embeddings
that training made anyway. Either view must tell the image's cluster.

Where we differ: no small crops. The first epoch only fills the memory: an image that
was in no clustering yet sends no gradient. (The authors embed all images ahead of the
first epoch.) Shorter runs than the paper's have fewer clusters, weaker colours and a
narrower head.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, require

from ._clusters import Clusterings
from ._heads import mlp, spread
from ._views import SWAV, paler, two_views


class DeepCluster(Method):
    """Classifies both views by the cluster of their image, once for each head."""

    checkpoints: ClassVar = {
        "alexnet": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/alexnet/checkpoint.pth.tar",
            "encoder": "alexnet",
            "settings": {"widths": (96, 256, 384, 384, 256)},
            "input": {"colour": "sobel"},
            "licence": "CC-BY-NC-4.0",
        },
        "vissl_alexnet": {
            "url": "vissl:deepcluster_alexnet_checkpoint.torch",
            "encoder": "alexnet",
            "settings": {"widths": (96, 256, 384, 384, 256)},
            "input": {"colour": "sobel"},
        },
        "mmselfsup_rn50": {
            "url": "mmselfsup:deepcluster/deepcluster-sobel_resnet50_8xb64-steplr-200e_in1k-bb8681e2.pth",
            "input": {"colour": "sobel"},
            "linear": 0.4692,
        },
        "v2_400ep": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/deepclusterv2_400ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
        },
        "v2_800ep": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/deepclusterv2_800ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.752,
            "source": "https://github.com/facebookresearch/swav",
        },
    }
    views_per_image = 2.0
    short_run_settings: ClassVar = {"clusters": (32, 64, 128), "strength": 0.5, "hidden": 512}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        clusters: tuple[int, ...] = (3000, 3000, 3000),
        every: float = 1.0,
        iterations: int = 10,
        temperature: float = 0.1,
        strength: float = 1.0,
        hidden: int = 2048,
        dim: int = 128,
    ) -> None:
        super().__init__(encoder, facts)
        require(len(clusters) > 0 and min(clusters) >= 2, "deepcluster.clusters", clusters, "at least 2 for each head")
        require(every > 0, "deepcluster.every", every, "epochs, above 0")
        require(iterations >= 1, "deepcluster.iterations", iterations, "at least 1")
        require(temperature > 0, "deepcluster.temperature", temperature, "above 0")
        require(0 <= strength <= 1, "deepcluster.strength", strength, "a share of the authors' colours, from 0 to 1")
        require(hidden >= 1, "deepcluster.hidden", hidden, "at least 1")
        require(dim >= 2, "deepcluster.dim", dim, "at least 2")
        self.temperature, self.look = temperature, paler(SWAV, strength)
        self.head = mlp(encoder.dim, hidden, dim)
        self.clusterings = Clusterings(facts.images, dim, clusters, every, iterations)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the image's cluster, averaged over views and heads."""
        z = self.embedded(two_views(batch.images, self.look))
        clusters = self.clusterings.assignments[:, batch.indices].repeat(1, 2)  # (heads, 2 N)
        self.newest = batch.indices, z.detach().unflatten(0, (2, -1))
        self.logged["spread"] = spread(z)
        z = torch.where(clusters[0].unsqueeze(1) < 0, z.detach(), z)
        heads = list(zip(self.clusterings(z), clusters.clamp_min(0), strict=True))
        self.logged["accuracy"] = torch.stack([(s.argmax(1) == answers) for s, answers in heads]).float().mean()
        return torch.stack([F.cross_entropy(s / self.temperature, answers) for s, answers in heads]).mean()

    def embedded(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors z (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def after_step(self, progress: float) -> None:
        """Both views enter the memory, which is clustered anew every so many epochs."""
        self.clusterings.update(*self.newest)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image with its cluster, a view with the cluster it says, and the nearest image of the same cluster."""
        views = two_views(batch.images, self.look)[: len(batch.images)]
        z, cluster = self.embedded(views), self.clusterings.assignments[0, batch.indices]
        shares, said = (self.clusterings(z)[0] / self.temperature).softmax(1).max(1)
        told = zip(said.tolist(), shares.tolist(), strict=True)
        same = (cluster.unsqueeze(1) == cluster).float()
        likeness = (z @ z.T + 4 * same).fill_diagonal_(-2)  # its own cluster first, itself last
        best, near = likeness.max(1)
        return [
            Panel(
                title="image",
                images=batch.images,
                captions=tuple(f"cluster {k}" if k >= 0 else "of no cluster yet" for k in cluster.tolist()),
            ),
            Panel(
                title="a view: of which cluster?",
                images=views,
                captions=tuple(f"cluster {k}, {p:.0%}" for k, p in told),
            ),
            Panel(
                title="nearest image of its cluster",
                images=batch.images[near],
                captions=tuple(
                    f"cosine {b - 4:.2f}" if b > 2 else "of another: its own has none" for b in best.tolist()
                ),
            ),
        ]
