"""SwAV: predict from one view to which prototypes another view of the image is assigned.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin, "Unsupervised Learning of
Visual Features by Contrasting Cluster Assignments", NeurIPS 2020.
https://arxiv.org/abs/2006.09882

Clusters are made as training goes: a batch is assigned to prototypes so that all
get equally much (Sinkhorn-Knopp), which rules out that all views become alike.
What one large view is assigned to must be told from every other view, small crops
among them, which cost little. A small batch is assigned along with a queue.

Where we differ: shorter runs have fewer prototypes, which hold still throughout,
sharper codes, a shorter queue that starts earlier, weaker colours, fewer small
crops, and a narrower head that ends in a batch norm (``norm_last``), since else
embeddings share a mean that hides what tells them apart.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, distributed, require

from ._heads import mlp, spread
from ._prototypes import Prototypes, prototype_panels, swapped
from ._sinkhorn import Codes
from ._views import SWAV, crops, paler, small_crops, two_views


class SwAV(Method):
    """Tells each view's assignment from the others."""

    checkpoints: ClassVar = {
        "100ep": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/swav_100ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
        },
        "200ep": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/swav_200ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
        },
        "400ep": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/swav_400ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
        },
        "800ep": {
            "url": "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
            "licence": "CC-BY-NC-4.0",
            "linear": 0.753,
            "source": "https://github.com/facebookresearch/swav",
        },
        "vissl_100ep": {
            "url": (
                "vissl:swav_in1k_rn50_100ep_swav_8node_resnet_27_07_20.7e6fc6bf/model_final_checkpoint_phase99.torch"
            ),
        },
        "vissl_200ep": {
            "url": (
                "vissl:swav_in1k_rn50_200ep_swav_8node_resnet_27_07_20.bd595bb0/model_final_checkpoint_phase199.torch"
            ),
        },
        "vissl_400ep": {
            "url": (
                "vissl:swav_in1k_rn50_400ep_swav_8node_resnet_27_07_20.a5990fc9/model_final_checkpoint_phase399.torch"
            ),
        },
        "vissl_800ep": {
            "url": (
                "vissl:swav_in1k_rn50_800ep_swav_8node_resnet_27_07_20.a0a6b676/model_final_checkpoint_phase799.torch"
            ),
        },
        "mmselfsup_200ep": {
            "url": (
                "mmselfsup:1.x/swav/swav_resnet50_8xb32-mcrop-2-6-coslr-200e_in1k-224-96/"
                "swav_resnet50_8xb32-mcrop-2-6-coslr-200e_in1k-224-96_20220825-5b3fc7fc.pth"
            ),
            "linear": 0.705,
        },
        "lightly_100ep": {
            "url": (
                "lightly:resnet50_swav_2023-05-25_08-29-14/pretrain/version_0/checkpoints/epoch%3D99-step%3D500400.ckpt"
            ),
            "linear": 0.672,
            "knn": 0.495,
        },
    }
    short_run_settings: ClassVar = {
        "prototypes": 64,
        "epsilon": 0.03,
        "queue": 512,
        "queue_from": 0.25,
        "frozen": 100.0,
        "small": 2,
        "strength": 0.5,
        "hidden": 512,
        "dim": 64,
        "norm_last": True,
    }

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 3840,
        queue_from: float = 15.0,
        frozen: float = 1.0,
        small: int = 6,
        strength: float = 1.0,
        hidden: int = 2048,
        dim: int = 128,
        norm_last: bool = False,
    ) -> None:
        super().__init__(encoder, facts)
        require(prototypes >= 2, "swav.prototypes", prototypes, "at least 2")
        require(temperature > 0, "swav.temperature", temperature, "above 0")
        require(epsilon > 0, "swav.epsilon", epsilon, "above 0")
        require(iterations >= 1, "swav.iterations", iterations, "at least 1")
        require(queue >= 0, "swav.queue", queue, "0 or more")
        require(queue_from >= 0, "swav.queue_from", queue_from, "epochs, 0 or more")
        require(frozen >= 0, "swav.frozen", frozen, "epochs, 0 or more")
        require(small >= 0, "swav.small", small, "0 or more")
        require(0 <= strength <= 1, "swav.strength", strength, "a share of the authors' colours, from 0 to 1")
        require(hidden >= 1, "swav.hidden", hidden, "at least 1")
        require(dim >= 2, "swav.dim", dim, "at least 2")
        self.temperature, self.small, self.look = temperature, small, paler(SWAV, strength)
        self.view_size, self.views_per_image = crops(facts.image_size, small)
        self.head = mlp(encoder.dim, hidden, dim, norm_last=norm_last)
        self.prototypes = Prototypes(dim, prototypes, frozen * facts.images)
        self.codes, self.queue_from = Codes(queue, dim, epsilon, iterations), queue_from * facts.images

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of both large views' codes from every other view (equation 2 and section 3.2)."""
        N, large = len(batch.images), two_views(batch.images, self.look)
        small = [small_crops(batch.images, self.look, self.small)] if self.small else []
        z = self.embedded(large, *small)
        self.newest = z[: 2 * N].detach()
        codes, scores = self.codes(self.newest, self.prototypes), self.prototypes(z).unflatten(0, (-1, N))
        self.logged["accuracy"] = (scores[:2].argmax(2) == codes.flip(0).argmax(2)).float().mean()
        self.logged["spread"] = spread(self.newest)
        return swapped(codes, scores / self.temperature)

    def embedded(self, *views: Tensor) -> Tensor:
        """Views, a batch for each size -> unit vectors z of all (M, dim); the head sees them as one batch."""
        return F.normalize(self.head(torch.cat([self.encoder(batch) for batch in views])).float(), dim=1)

    def after_step(self, progress: float) -> None:
        """The batch enters the queue once that has started."""
        if self.prototypes.seen >= self.queue_from:
            self.codes.push(self.newest)
        self.prototypes.seen += distributed.world_size() * len(self.newest) // 2

    def panels(self, batch: Batch) -> list[Panel]:
        """A view with its code, another view with what it says of that, and the other image likeliest to be of it."""
        first, second = (views := two_views(batch.images, self.look)).chunk(2)
        z = self.embedded(views)
        guesses = (self.prototypes(z.chunk(2)[1]) / self.temperature).softmax(1)
        return prototype_panels(first, self.codes(z, self.prototypes)[0], second, guesses)
